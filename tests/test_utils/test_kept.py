from diff2in1_mm.utils.kept import Kept


def test_what_is_missing_is_made_at_once_and_what_was_asked_for_last_stays():
    asked, kept = [], Kept(2)

    def double(keys):
        asked.append(keys)
        return [2 * key for key in keys]

    assert kept.get([1, 2, 1], double) == [2, 4, 2] and asked == [[1, 2]]
    assert kept.get([1], double) == [2] and len(asked) == 1  # so that 2 is the one to go
    assert kept.get([3, 1], double) == [6, 2] and asked[1:] == [[3]] and len(kept) == 2
    assert kept.get([2], double) == [4] and asked[2:] == [[2]]


def test_more_keys_than_stay_have_their_values_all_the_same():
    kept = Kept(1)
    assert kept.get('abc', lambda keys: [key.upper() for key in keys]) == ['A', 'B', 'C']
    assert len(kept) == 1
