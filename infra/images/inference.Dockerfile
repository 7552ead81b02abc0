# The image that serves a release: Triton's own, the model's packages and our sources.
# Build from the root of the repository; TRITON_IMAGE is the official Triton server image with the
# Python backend and Python 3.12, by digest.
ARG TRITON_IMAGE
FROM ${TRITON_IMAGE}
USER root
COPY requirements/inference.txt /requirements/
# A folder of its own: the image's packages stay as they are, and ours come first in the path.
RUN python3 -m pip install --no-cache-dir --no-deps --require-hashes \
        --target /opt/worldloom/packages -r /requirements/inference.txt
WORKDIR /opt/worldloom
COPY LICENSE NOTICE ./
COPY worldloom worldloom
COPY services services
ENV PYTHONPATH=/opt/worldloom:/opt/worldloom/packages \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    HOME=/tmp
USER 1000:1000
