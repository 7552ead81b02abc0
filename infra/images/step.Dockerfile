# The image of the pipeline's steps: the library, the steps and what they are built on.
# Build from the root of the repository; PYTHON_IMAGE is an image of Python 3.11 or 3.12, by digest,
# with a C++ compiler where a package has no wheel for the platform.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS packages
COPY requirements/steps.txt /requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \
        -r /requirements/steps.txt

FROM ${PYTHON_IMAGE}
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/worldloom
COPY LICENSE NOTICE ./
COPY worldloom worldloom
COPY services services
COPY components components
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/worldloom \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 1000:1000
