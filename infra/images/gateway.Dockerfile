# The image of the gateway: its own sources and the few of the library that it needs, no torch.
# Build from the root of the repository; PYTHON_IMAGE is an image of Python 3.11 or 3.12, by digest.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS packages
COPY requirements/gateway.txt /requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \
        -r /requirements/gateway.txt

FROM ${PYTHON_IMAGE}
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/worldloom
COPY LICENSE NOTICE ./
COPY worldloom/__init__.py worldloom/config.py worldloom/errors.py worldloom/log.py worldloom/
COPY services/__init__.py services/contract.py services/protocol.py services/session_state.py \
    services/
COPY services/gateway services/gateway
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/worldloom \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    HOME=/tmp
USER 1000:1000
