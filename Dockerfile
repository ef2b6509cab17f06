# syntax=docker/dockerfile:1.7
#   docker build -t filterlens .                                          with CUDA, as the package index's torch has it
#   docker build -t filterlens:cpu --build-arg TORCH_INDEX=ADDRESS .      processor only: the address of PyTorch's CPU wheels
ARG PYTHON=3.11.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=""
ENV PATH=/opt/filterlens/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# PyTorch first and by itself: the largest layer, which a change of filterlens does not touch. Versions are not pinned:
# pyproject.toml says which are good.
# hadolint ignore=DL3013
RUN python -m venv /opt/filterlens && pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.4" "torchvision>=0.19"
COPY pyproject.toml README.md LICENSE ./
COPY catalogs ./catalogs
COPY filterlens ./filterlens
# hadolint ignore=DL3013
RUN pip install ".[audit,onnx]" && filterlens selftest

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/filterlens /opt/filterlens
RUN useradd --create-home --uid 1000 filterlens \
    && install --directory --owner=filterlens /work /cache
ENV PATH=/opt/filterlens/bin:$PATH FILTERLENS_CACHE=/cache
USER 1000
WORKDIR /work
VOLUME ["/cache"]
ENTRYPOINT ["filterlens"]
CMD ["--help"]
