# syntax=docker/dockerfile:1

FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/runtime.txt .
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r runtime.txt

FROM python:3.12-slim
LABEL org.opencontainers.image.title="sync-service" \
      org.opencontainers.image.description="The event backbone of a distributed file system"
COPY --from=build /opt/venv /opt/venv
COPY alembic.ini /app/
COPY alembic /app/alembic
COPY app /app/app
# The working directory is the only place the service writes to, and only with SQLite or in local mode.
RUN useradd --system --uid 10001 --no-create-home app \
 && install --directory --owner app /data
WORKDIR /data
VOLUME /data
USER 10001
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ALEMBIC_CONFIG=/app/alembic.ini \
    ENVIRONMENT=production
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "15"]
