# The data service and its command, in an image that needs nothing but a place for /data. Built from the folder of
# this file: `docker build --tag cb-trade .`. How it is run: compose.yaml, and docs/how-to/run-on-azure.md.

# By version for people, by digest for certain. A stand-in with a Python from 3.11 to 3.14 does as well:
# deploy/check-image.sh tells how to build on one where this cannot be had.
ARG PYTHON_IMAGE=docker.io/library/python:3.13.13-slim-bookworm@sha256:355bfa66770995d7e9a0da4b3473b44d0cb451f6b56f5615ad9c39e3c4eca03f

FROM ${PYTHON_IMAGE} AS base
# Nothing is compiled while it runs: the root file system may be read-only.
ENV PATH=/opt/cb-trade/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM base AS build
WORKDIR /build
# The lock holds more than the service needs; what it needs is chosen below, from these files and no others.
COPY requirements.lock ./
RUN python3 -m venv tools \
    && tools/bin/pip wheel --quiet --only-binary :all: --require-hashes --requirement requirements.lock --wheel-dir wheels \
    && tools/bin/pip install --quiet --no-index --find-links wheels hatchling
COPY data-client data-client
COPY data-service data-service
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir ours ./data-client ./data-service \
    && python3 -m venv --without-pip /opt/cb-trade \
    && tools/bin/pip --python /opt/cb-trade/bin/python install --quiet --no-index --find-links wheels ours/*.whl \
    # What nothing here imports: tests, headers, and Arrow's doors to other protocols.
    && find /opt/cb-trade -type d -name tests -prune -exec rm -r {} + \
    && find /opt/cb-trade/lib/python3*/site-packages/pyarrow \
        '(' -name include -o -name '*flight*' -o -name '*_s3*' ')' -prune -exec rm -r {} +
COPY deploy/healthcheck.py /opt/cb-trade/healthcheck.py

FROM base
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cb-trade" \
      org.opencontainers.image.description="Crypto market history you can trust: the data service and its command" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# The number is what file systems and orchestrators see: it stays.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin cb-trade \
    && install --directory --owner=cb-trade --group=cb-trade --mode=0750 /data
COPY --from=build /opt/cb-trade /opt/cb-trade
ENV CB_TRADE_HOST=0.0.0.0 \
    CB_TRADE_PORT=8700 \
    CB_TRADE_STORAGE__ROOT=/data
USER 10001:10001
# Settings files are looked for here, where there are none: a container's settings are its environment and /run/secrets.
WORKDIR /opt/cb-trade
VOLUME /data
EXPOSE 8700
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "/opt/cb-trade/healthcheck.py"]
ENTRYPOINT ["cb-trade"]
CMD ["serve"]
