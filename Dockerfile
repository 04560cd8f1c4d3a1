# docker build -t diff2in1 .                                         GPU, segmentation and CPU operators
# docker build -t diff2in1 --build-arg BASE=debian:12-slim .         CPU
# docker build -t diff2in1 --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 --build-arg OPS=cuda .
#                                                                    detectors on a GPU (nvcc compiles their operators)
# docker run --gpus all -v $PWD:/work diff2in1 diff2in1-train CONFIG
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE}
ARG STACK=default
ARG TORCH=
ARG OPS=cpu
ARG MAX_JOBS=
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-venv python3-dev build-essential make libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . /opt/diff2in1_mm
# the wheel of mmcv is in the environment then, so that the cache would only be a second copy
ARG XDG_CACHE_HOME=/tmp/cache
RUN make -C /opt/diff2in1_mm set-up STACK=${STACK} TORCH=${TORCH} OPS=${OPS} MAX_JOBS=${MAX_JOBS} \
    && rm -rf ${XDG_CACHE_HOME}
ENV PATH=/opt/diff2in1_mm/.venv/bin:${PATH}
WORKDIR /work
CMD ["diff2in1-train", "--help"]
