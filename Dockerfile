# One image for every process; the argument selects it: docker run IMAGE gateway
#
#   docker build -t webhook-service .                                          # podman build takes the same
#   docker build --build-arg BASE=registry.example/python:3.13-slim .          # another base: Debian's glibc, Python 3.11+
#   pip download --require-hashes -r requirements/run.txt -d wheels &&         # offline; for the platform and the
#      docker build --network none --build-arg WHEELS=wheels .                 # Python of the base
ARG BASE=docker.io/library/python:3.13.18-slim-trixie

FROM ${BASE} AS build
# A folder of the context with wheels, in place of the package index. Without one, any folder will do.
ARG WHEELS=requirements
COPY requirements/run.txt /build/
COPY ${WHEELS} /build/wheels/
WORKDIR /build
# Compiled once, below: checked by nothing, because nothing here changes any more.
RUN python3 -m venv /opt/venv \
    && set -- --no-cache-dir --no-compile --disable-pip-version-check --only-binary :all: --require-hashes -r run.txt \
    && if ls wheels/*.whl >/dev/null 2>&1; then set -- --no-index --find-links wheels "$@"; fi \
    && /opt/venv/bin/pip install "$@" \
    && /opt/venv/bin/pip uninstall --yes --quiet pip \
    && rm -rf /opt/venv/lib/python3.*/site-packages/setuptools* /opt/venv/share /opt/venv/include
WORKDIR /app
COPY services/ services/
COPY protos/ protos/
COPY migrations/ migrations/
COPY console/ console/
# As the user that will run it reads it, whatever the modes in the checkout are.
RUN find /app -name '*.proto' -delete \
    && chmod -R u=rwX,go=rX /app /opt/venv \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv /app

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="webhook-service" \
      org.opencontainers.image.description="Takes in webhooks and events, stores them, and delivers them." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://example.com/webhook-service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# The root may be read-only: nothing is written but to /tmp.
# production: a container is reached from outside, so servers bind all interfaces, by IPv4 and IPv6.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENV=production
# A number, so that a cluster can see that it is not root.
USER 10001:10001
EXPOSE 8080 9090 50051 50052 50053
ENTRYPOINT ["python", "-m", "services"]
CMD ["--help"]
