# One image for every role: the command says which.
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras of pyproject.toml: opinion brings the reader of text that a second opinion needs.
ARG EXTRAS=
# Threads that wait sleep and do not spin: the cores are shared with listener, Postgres and delivery.
ENV OMP_WAIT_POLICY=PASSIVE
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/neurotriage

RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0
COPY requirements/embedded.lock requirements/
RUN pip install --no-deps --require-hashes -r requirements/embedded.lock

COPY . .
RUN pip install hatchling editables && pip install --no-deps --no-build-isolation . \
 && if [ -n "$EXTRAS" ]; then pip install --no-build-isolation ".[$EXTRAS]"; fi \
 && groupadd --system --gid 999 neurotriage \
 && useradd --system --uid 999 --gid 999 --create-home --home-dir /var/lib/neurotriage neurotriage \
 && install -d -o neurotriage /var/lib/neurotriage/storage

USER neurotriage
WORKDIR /var/lib/neurotriage
ENV NEUROTRIAGE__STORAGE__ROOT=/var/lib/neurotriage/storage
ENTRYPOINT ["neurotriage"]
