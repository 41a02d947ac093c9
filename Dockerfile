# docker build -t conductor-loop .
# docker run --rm -v "$(pwd)/handoff:/handoff" --user "$(id -u):$(id -g)" conductor-loop

# The digest is that of the tag's multi-platform index; a tag alone can come to mean another image.
FROM python:3.12.14-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579 AS wheel
WORKDIR /source
COPY requirements-supply.lock ./
RUN python -m pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-supply.lock
COPY pyproject.toml README.md LICENSE ./
COPY examples examples
COPY src src
RUN python -m hatchling build -t wheel -d /wheel

FROM python:3.12.14-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579 AS installed
WORKDIR /source
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --only-binary :all: --require-hashes --prefix /installed -r requirements.lock
COPY --from=wheel /wheel /wheel
RUN python -m pip install --no-cache-dir --no-deps --no-index --prefix /installed /wheel/*.whl \
    && cp /installed/bin/conductor-porch /installed/bin/porch

FROM python:3.12.14-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579
LABEL org.opencontainers.image.title="conductor-loop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Runs Porch exactly once for each intent file, and leaves a package and a verdict"
# Nothing installs anything here any more. Sticky folders, so that any --user can write to them.
RUN python -m pip uninstall --yes --root-user-action ignore pip \
    && install -d -m 1777 /handoff /out /state
# `porch` is conductor-porch until another one is mounted or copied to /usr/local/bin/porch.
COPY --from=installed /installed /usr/local
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
WORKDIR /
USER 65534:65534
# Writable also under --read-only.
VOLUME ["/handoff", "/out", "/tmp"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["conductor-loop", "health"]
ENTRYPOINT ["conductor-loop"]
