# The service alone: no build tools, no pip, an ordinary user, and nothing it needs to write outside /data and /tmp.
FROM python:3.13-slim-trixie AS build
COPY requirements/runtime.txt /build/
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --disable-pip-version-check \
    --only-binary :all: --require-hashes -r /build/runtime.txt
COPY alembic.ini /app/
COPY alembic /app/alembic
COPY app /app/app
COPY docs/alerts.md docs/problems.md /app/docs/
COPY sync_client /app/sync_client
# Nothing can be compiled at run time, so it is now. Files of an image do not change: no need to compare them either.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib /app \
 && chmod -R a+rX,go-w /opt/venv /app

FROM python:3.13-slim-trixie
# The official image leaves the standard library uncompiled, which costs every start and every health check.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip \
 && library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -r "$library/ensurepip" \
 && python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|idlelib|tkinter|turtledemo)/' "$library" \
 && groupadd --gid 10001 app \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin app \
 && install --directory --owner 10001 --group 10001 --mode 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# A relative DATABASE_URL or SECRET_KEY_FILE means /data. Code is never imported from there: PYTHONSAFEPATH.
WORKDIR /data
VOLUME /data
USER 10001
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=1 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    PYTHONDONTWRITEBYTECODE=1 \
    ALEMBIC_CONFIG=/app/alembic.ini \
    ENVIRONMENT=production \
    SERVER_HOST=0.0.0.0
EXPOSE 8000
STOPSIGNAL SIGTERM
# Checks the process and not its database: a restart would not fix the database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
  CMD ["python", "-I", "-S", "-c", "import os, socket; s = socket.create_connection(('localhost', int(os.environ.get('SERVER_PORT') or 8000)), 2); s.sendall(b'GET /health/live HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(s.recv(12, socket.MSG_WAITALL)[-3:] != b'200')"]
CMD ["python", "-m", "app", "serve"]

ARG VERSION=1.0.0
ARG SOURCE
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="sync-service" \
      org.opencontainers.image.description="The event backbone of a distributed file system" \
      org.opencontainers.image.licenses="LicenseRef-educational" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
