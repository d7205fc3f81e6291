# The sandbox portal for compose.yaml: a real Redis and PostgreSQL, a simulated BFF and vendors. For trying, not for use.
ARG BASE=docker.io/library/python:3.11-slim
FROM ${BASE}
RUN useradd --uid 10001 --create-home --home-dir /var/lib/portal-monitor portal-monitor
WORKDIR /opt/source
COPY requirements-dev.lock ./
RUN python3 -m venv /opt/portal-monitor \
    && /opt/portal-monitor/bin/pip install --no-cache-dir --require-hashes -r requirements-dev.lock
COPY pyproject.toml setup.py README.md LICENSE probes.yaml ./
COPY alerts alerts
COPY monitor monitor
RUN /opt/portal-monitor/bin/pip install --no-cache-dir --no-deps -e . \
    && install -d -o 10001 -g 10001 /sandbox
ENV PATH=/opt/portal-monitor/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
VOLUME /sandbox
ENTRYPOINT ["portal-monitor", "sandbox"]
CMD ["up", "--folder", "/sandbox"]
