# The image of the tracking server: MLflow and the driver of Postgres, none of our sources.
# Build from the root of the repository; PYTHON_IMAGE is an image of Python 3.11 or 3.12, by digest.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS packages
COPY requirements/mlflow.txt /requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \
        -r /requirements/mlflow.txt

FROM ${PYTHON_IMAGE}
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 1000:1000
