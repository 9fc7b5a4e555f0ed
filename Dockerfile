# The service, on a CPU:
#
#   docker build -t reenactor .
#   docker run -p 8000:8000 -e REENACTOR_API_KEYS=at-least-24-random-characters -v reenactor-data:/data reenactor
#
# Uploads, results and the signing certificate are kept in the volume /data. docs/api.md describes the service.
FROM python:3.12-slim-bookworm

# OpenCV, which MediaPipe brings, loads these.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# PyTorch first: its build without CUDA is several gigabytes smaller, and this layer stays when only our code changes.
# The rest by the hashes in requirements.lock (`make lock`); nothing is resolved anew.
COPY constraints.txt requirements.lock /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir --require-hashes --no-deps --no-build-isolation -r /tmp/requirements.lock

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir --no-deps --no-build-isolation /build && rm -r /build

RUN useradd --create-home --uid 1000 reenactor && install -d -o reenactor /data
USER reenactor
ENV REENACTOR_HOME=/data/home \
    REENACTOR_CACHE=/data/cache
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["reenactor", "serve", "--host", "0.0.0.0", "--data", "/data/jobs"]
