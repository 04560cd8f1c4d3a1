// The list of samples. What a store says (captions, names of files and classes) becomes text, never markup.
'use strict';

const ROW = 216, PART = 50, HIGHEST = 8e6; // pixels of a row, samples of an answer, pixels that browsers scroll
const $ = (id) => document.getElementById(id);
const list = $('list'), space = $('space'), choice = $('choice');
const still = window.STORE || null; // a page in a folder has all it shows
let summary = null, total = 0, parts = new Map(), chosen = 0, ask = 0, drawn = new Map(), acts = Promise.resolve();

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function fetched(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function query() {
  const values = new URLSearchParams();
  for (const [name, value] of new FormData(choice)) if (value && !(name === 'sort' && value === 'id')) values.set(name, value);
  return values;
}

// --- samples, by parts -------------------------------------------------------------------------

function staticRows() {
  const asked = query(), figure = asked.get('figure'), sort = asked.get('sort'), verdict = asked.get('verdict');
  const said = { open: (row) => !row.verdict && !row.rejected.length && !row.human.length, class: (row) => row.rejected.length, human: (row) => row.human.length };
  const rows = still.rows.filter((row) =>
    (!asked.get('shows') || row.classes.includes(asked.get('shows')))
    && (!asked.get('round') || row.round === Number(asked.get('round')))
    && (!verdict || (said[verdict] ? said[verdict](row) : row.verdict === verdict))
    && (!figure || !asked.get('least') || row.quality[figure] >= Number(asked.get('least')))
    && (!figure || !asked.get('most') || row.quality[figure] <= Number(asked.get('most'))));
  const sign = asked.get('descending') ? -1 : 1;
  if (sort) rows.sort((a, b) => (b.quality[sort] !== undefined) - (a.quality[sort] !== undefined) || sign * (a.quality[sort] - b.quality[sort]));
  else if (sign < 0) rows.reverse();
  return rows;
}

async function load(part) {
  if (parts.has(part)) return;
  parts.set(part, null); // on its way
  const mine = ask, values = query();
  values.set('offset', part * PART);
  values.set('count', PART);
  try {
    const answer = await fetched('samples?' + values);
    if (mine !== ask) return;
    if (!answer.ready) {
      parts.delete(part);
      $('progress').textContent = `reading the store: ${answer.read} of ${summary.samples}`;
      setTimeout(() => mine === ask && load(part), 300);
      return;
    }
    parts.set(part, answer.rows);
    if (total !== answer.total) { total = answer.total; resize(); }
    tell();
    draw();
  } catch (error) {
    if (mine !== ask) return;
    parts.delete(part);
    $('progress').textContent = error.message;
  }
}

function rowAt(index) {
  const part = Math.floor(index / PART), rows = parts.get(part);
  if (rows === undefined && !still) load(part);
  return rows ? rows[index % PART] : undefined;
}

function restart() {
  ask += 1;
  parts = new Map();
  chosen = 0;
  list.scrollTop = 0;
  for (const node of drawn.values()) node.remove();
  drawn = new Map();
  if (still) {
    const rows = staticRows();
    for (let i = 0; i < rows.length; i += PART) parts.set(i / PART, rows.slice(i, i + PART));
    total = rows.length;
    resize();
    tell();
    draw();
  } else load(0);
}

// --- what is seen of them ----------------------------------------------------------------------

// Browsers end pages at some ten million pixels: beyond, the bar moves through the list faster.
const height = () => Math.min(total * ROW, HIGHEST);
const atTop = () => {
  const way = height() - list.clientHeight;
  return way <= 0 ? 0 : (list.scrollTop / way) * (total - list.clientHeight / ROW);
};

function resize() { space.style.height = `${height()}px`; }

function draw() {
  const top = atTop(), first = Math.max(0, Math.floor(top) - 1);
  const last = Math.min(total, Math.ceil(top + list.clientHeight / ROW) + 1);
  for (const [index, node] of drawn) if (index < first || index >= last) { node.remove(); drawn.delete(index); }
  for (let index = first; index < last; index += 1) {
    const row = rowAt(index);
    if (!row) continue;
    if (!drawn.has(index)) { drawn.set(index, made(row, index)); space.append(drawn.get(index)); }
    drawn.get(index).style.top = `${list.scrollTop + (index - top) * ROW}px`;
  }
}

function picture(row, kind, whole) {
  if (row.pictures) return row.pictures[kind] || '';
  const version = row.human.length ? '&label=' + row.human.length : '';
  return `picture/${encodeURIComponent(row.id)}/${encodeURIComponent(kind)}?whole=${whole ? 1 : 0}${version}`;
}

function made(row, index) {
  const node = element('article', `row ${row.verdict} ${index === chosen ? 'chosen' : ''}`);
  node.dataset.id = row.id;
  for (const kind of summary.kinds) {
    const figure = element('figure'), image = element('img');
    image.alt = `${kind} of ${row.id}`;
    image.src = picture(row, kind, false);
    figure.append(image, element('figcaption', '', kind));
    node.append(figure);
  }
  const about = element('div', 'about'), title = element('div', 'id', row.id);
  if (row.verdict) title.append(element('span', `badge ${row.verdict}`, { keep: 'kept', reject: 'rejected' }[row.verdict]));
  if (row.human.length) title.append(element('span', 'badge', `by hand: ${row.human.join(', ')}`));
  const classes = element('div', 'classes');
  row.classes.forEach((name, number) => {
    const chip = element('span', row.rejected.includes(name) ? 'wrong' : '');
    chip.append(swatch(name), ` ${number < 9 ? `${number + 1} ` : ''}${name}`);
    classes.append(chip);
  });
  const figures = Object.entries(row.quality).map(([name, value]) => `${name} ${value}`);
  about.append(title, element('div', 'caption', row.caption), element('div', 'figures', [row.T ? `T ${row.T}` : 'unlabelled', ...figures].join(' · ')),
    classes, element('div', 'small', `round ${row.round}, from ${row.source}`));
  node.append(about);
  node.addEventListener('click', () => choose(index, false));
  return node;
}

function swatch(name) {
  const box = element('span', 'colour'), colour = summary.colours[summary.classes.indexOf(name)];
  if (colour) box.style.background = `rgb(${colour.join(',')})`;
  return box;
}

function redraw(index) {
  const node = drawn.get(index), row = rowAt(index);
  if (!node || !row) return;
  const fresh = made(row, index);
  fresh.style.top = node.style.top;
  node.replaceWith(fresh);
  drawn.set(index, fresh);
}

function choose(index, scroll = true) {
  const before = chosen;
  chosen = Math.max(0, Math.min(total - 1, index));
  if (scroll) {
    const top = atTop(), seen = list.clientHeight / ROW;
    const wanted = chosen < top ? chosen : chosen + 1 > top + seen ? chosen + 1 - seen : top;
    if (wanted !== top) list.scrollTop = (wanted / Math.max(total - seen, 1e-9)) * (height() - list.clientHeight);
  }
  for (const at of [before, chosen]) drawn.get(at)?.classList.toggle('chosen', at === chosen);
  draw();
}

// --- the store as a whole ----------------------------------------------------------------------

function tell() {
  const said = summary.verdicts, busy = summary.read < summary.samples ? `, ${summary.read} read` : '';
  $('progress').textContent = `${total} of ${summary.samples} samples${busy} · ${said.keep} kept, ${said.reject} rejected, `
    + `${said.wrong} with a rejected class`;
}

function options(name, values) {
  const select = choice.elements[name], there = new Set([...select.options].map((option) => option.value));
  for (const value of values.map(String)) if (!there.has(value)) select.append(new Option(value, value));
}

function show() {
  $('name').textContent = summary.name;
  document.title = `${summary.name}: synthetic samples`;
  options('sort', summary.figures);
  options('figure', summary.figures);
  options('shows', summary.classes);
  options('round', summary.rounds);
  $('classes').replaceChildren(...summary.classes.map((name) => {
    const line = element('tr'), first = element('td');
    first.append(swatch(name));
    const real = summary.real_images ? summary.real[name] || 0 : '';
    line.append(first, element('td', '', name), element('td', '', summary.counts[name]), element('td', '', real));
    return line;
  }));
}

async function follow() {
  const before = summary.read;
  summary = await fetched('summary');
  show();
  tell();
  const done = summary.read === summary.samples && summary.measured === summary.samples;
  setTimeout(() => follow().catch(lost), done && before === summary.read ? 5000 : 500);
}

function lost() { $('progress').textContent = 'The program has ended: start it again.'; }

// --- acts --------------------------------------------------------------------------------------

async function act(name, className = '') {
  const at = chosen, row = rowAt(at);
  if (still || (!row && name !== 'undo')) return;
  try {
    const answer = await fetched('review', {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ act: name, id: row ? row.id : '', name: className }),
    });
    summary.verdicts = answer.verdicts;
    tell();
    if (!answer.row) return;
    for (const [part, rows] of parts) {
      const place = rows ? rows.findIndex((one) => one.id === answer.row.id) : -1;
      if (place < 0) continue;
      rows[place] = answer.row;
      redraw(part * PART + place);
      if (name === 'undo') choose(part * PART + place);
    }
    if (name === 'keep' || name === 'reject') choose(at + 1);
  } catch (error) { $('progress').textContent = error.message; }
}

function enlarge() {
  const row = rowAt(chosen), box = $('large');
  if (!row) return;
  box.replaceChildren(...summary.kinds.map((kind) => Object.assign(element('img'), { alt: kind, src: picture(row, kind, true) })));
  box.hidden = false;
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  const large = $('large'), open = !large.hidden;
  large.hidden = true;
  const page = Math.max(1, Math.floor(list.clientHeight / ROW));
  const keys = {
    ArrowDown: () => choose(chosen + 1), ArrowUp: () => choose(chosen - 1), j: () => choose(chosen + 1),
    PageDown: () => choose(chosen + page), PageUp: () => choose(chosen - page),
    Home: () => choose(0), End: () => choose(total - 1), Enter: () => open || enlarge(), Escape: () => {},
    k: () => act('keep'), r: () => act('reject'), u: () => act('undo'),
    c: () => choice.elements.shows.value && act('reject_class', choice.elements.shows.value),
  };
  const number = Number(event.key);
  const ofThis = () => { const name = rowAt(chosen)?.classes[number - 1]; return name && act('reject_class', name); };
  const does = keys[event.key] || (number > 0 && ofThis);
  if (!does) return;
  event.preventDefault();
  acts = acts.then(does); // who types fast means the sample that an act before moves on to
});

$('large').addEventListener('click', () => { $('large').hidden = true; });
list.addEventListener('scroll', draw);
window.addEventListener('resize', () => { resize(); draw(); });
choice.addEventListener('change', () => { restart(); list.focus(); });
choice.addEventListener('submit', (event) => event.preventDefault());

async function begin() {
  summary = still ? still.summary : await fetched('summary');
  document.body.classList.toggle('static', Boolean(still));
  show();
  restart();
  list.focus();
  if (!still) follow().catch(lost);
}

begin().catch((error) => { $('progress').textContent = error.message; });
