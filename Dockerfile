# Two images of one environment:
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) -t platform:0.1.0-ray2.60.0 .                      head, workers, submitter
#   docker build --build-arg COMMIT=$(git rev-parse HEAD) --target mlflow -t platform-mlflow:0.1.0-mlflow3.17.2 .   MLflow's server
# Everything is pinned: the base by patch release (and by digest in your registry, if you mirror it), what pip brings by
# constraints.txt, as on a developer's machine.
ARG PYTHON_IMAGE=python:3.11.16-slim-bookworm

# The environments are built here; compilers' caches and uv stay behind. Bytecode is compiled now because the file system is
# read-only later, and importing torch and Ray without it doubles the time to the first step.
FROM ${PYTHON_IMAGE} AS build
ARG UV=0.13.9
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1
RUN pip install --no-cache-dir --disable-pip-version-check uv==${UV}
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN uv venv --no-project /opt/venv
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/venv/bin/python -r pyproject.toml -c constraints.txt

# The server needs neither torch nor Ray: MLflow, its accounts, PostgreSQL's driver and S3.
FROM build AS build-mlflow
RUN uv venv --no-project /opt/mlflow
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --python /opt/mlflow/bin/python --group server "mlflow" -c constraints.txt

# What both run on: a user without rights, and, for MLflow's server, an init that hands signals on to its processes.
FROM ${PYTHON_IMAGE} AS runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 platform \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin platform
# HOME is the one place besides volumes that can be written to.
ENV HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]

FROM runtime AS mlflow
COPY --from=build-mlflow /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:$PATH
WORKDIR /tmp
USER 1000:1000
EXPOSE 5000
CMD ["mlflow", "server", "--help"]

# The last stage is what `docker build .` makes. KubeRay's own commands want /bin/bash, which Debian has (bash 5.2 replaces itself
# by the last of them, so that Ray gets the signal of a pod's end), and wget, with which a submitter waits for the head.
FROM runtime AS platform
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/platform
COPY conf conf
COPY platform platform
COPY jobs jobs
COPY pyproject.toml constraints.txt LICENSE ./
# The package has the name of a module of the standard library: the repository must come first on the path of every process.
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/platform
# Where nodes bring the GPU's driver: GKE mounts it there; NVIDIA's container runtime reads the second.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN python -m compileall -q conf platform jobs
# What MLflow shows as the source of a run: there is no .git in the image.
ARG COMMIT=""
ENV PLATFORM_COMMIT=${COMMIT}
USER 1000:1000
CMD ["python", "-m", "platform.launch"]
