# Two images of one environment:
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) -t platform:0.1.0-ray2.60.0 .                      head, workers, submitter
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) --target mlflow -t platform-mlflow:0.1.0-mlflow3.17.2 .   MLflow's server
# Everything is pinned: the base by digest, what pip brings by constraints.txt, as on a developer's machine. What each layer
# holds and weighs, and how .github/workflows/image.yml builds, signs and lists it: k8s/image/README.md.

# The index (all architectures) that the official images' docker-library/repo-info recorded for this tag on 19 September 2026.
# Dependabot proposes newer ones.
FROM python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base

# uv is mounted where something is installed, and stays behind.
FROM base AS tools
ARG UV=0.13.9
RUN pip install --no-cache-dir --disable-pip-version-check uv==${UV}

# Which package goes into which layer. A layer is made anew only when its own list has changed.
FROM tools AS lists
WORKDIR /build
COPY pyproject.toml constraints.txt k8s/image/layers.py ./
ARG UV_NO_PROGRESS=1
RUN uv pip compile --quiet --no-header --no-annotate pyproject.toml -c constraints.txt -o platform.txt \
    && python layers.py platform.txt /lists \
    && echo mlflow > server.in \
    && uv pip compile --quiet --no-header --no-annotate server.in --group server -c constraints.txt -o /lists/mlflow.txt

# What both run on: a user without rights, and, for MLflow's server, an init that hands signals on to its processes.
FROM base AS runtime
# jpegtran of libjpeg-turbo-progs is what data.restart_markers needs in packing.
# Debian takes old versions away as it mends them: a pinned one could not be built again.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libjpeg-turbo-progs tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 platform \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin platform
# HOME is the one place besides volumes that can be written to.
ENV HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
LABEL org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.version="0.1.0"

# The server needs neither torch nor Ray: MLflow, its accounts, PostgreSQL's driver and S3.
FROM runtime AS mlflow
ARG UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=lists,source=/lists/mlflow.txt,target=/lists/mlflow.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv venv --cache-dir /root/.cache/uv --no-project /opt/mlflow \
    && uv pip install --cache-dir /root/.cache/uv --python /opt/mlflow/bin/python --no-deps -r /lists/mlflow.txt
ENV PATH=/opt/mlflow/bin:$PATH
WORKDIR /tmp
USER 1000:1000
EXPOSE 5000
CMD ["mlflow", "server", "--help"]
ARG COMMIT="" CREATED=""
LABEL org.opencontainers.image.title="platform-mlflow" \
    org.opencontainers.image.description="MLflow's tracking server with accounts, PostgreSQL and S3" \
    org.opencontainers.image.revision=${COMMIT} org.opencontainers.image.created=${CREATED}

# The last stage is what `docker build .` makes. KubeRay's own commands want /bin/bash, which Debian has (bash 5.2 replaces itself
# by the last of them, so that Ray gets the signal of a pod's end); its submitter waits for the head with Python.
# A RUN is a layer, ordered by how seldom it changes. Bytecode is compiled now because the file system is read-only later, and
# importing torch and Ray without it doubles the time to the first step; it is found by what it is made of, not by file times, so
# that a layer made twice is the same layer.
FROM runtime AS platform
ARG UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=lists,source=/lists/cuda.txt,target=/lists/cuda.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv venv --cache-dir /root/.cache/uv --no-project /opt/venv \
    && uv pip install --cache-dir /root/.cache/uv --python /opt/venv/bin/python --no-deps -r /lists/cuda.txt
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=lists,source=/lists/torch.txt,target=/lists/torch.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --cache-dir /root/.cache/uv --python /opt/venv/bin/python --no-deps -r /lists/torch.txt
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=lists,source=/lists/large.txt,target=/lists/large.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --cache-dir /root/.cache/uv --python /opt/venv/bin/python --no-deps -r /lists/large.txt
RUN --mount=type=bind,from=tools,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=lists,source=/lists/small.txt,target=/lists/small.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --cache-dir /root/.cache/uv --python /opt/venv/bin/python --no-deps -r /lists/small.txt
# The package has the name of a module of the standard library: the repository must come first on the path of every process.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/platform
# Where nodes bring the GPU's driver: GKE mounts it there; NVIDIA's container runtime reads the second.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /opt/platform
COPY pyproject.toml constraints.txt LICENSE ./
COPY conf conf
COPY platform platform
COPY jobs jobs
RUN python -m compileall -q --invalidation-mode unchecked-hash conf platform jobs
USER 1000:1000
CMD ["python", "-m", "platform.launch"]
# What MLflow shows as the source of a run: there is no .git in the image.
ARG COMMIT="" CREATED=""
ENV PLATFORM_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="platform" \
    org.opencontainers.image.description="Distributed training of image classifiers: Ray's head, workers and submitter" \
    org.opencontainers.image.revision=${COMMIT} org.opencontainers.image.created=${CREATED}
