# Two stages: the first has what it takes to install, the second only what it takes to run: no pip, no sandbox, no tests.
# The base is an argument, so that it can be pinned by digest or replaced by your own (Debian's python3 will do).
ARG BASE=docker.io/library/python:3.11-slim

FROM ${BASE} AS build
WORKDIR /build
COPY requirements.lock ./
RUN python3 -m venv /opt/portal-monitor \
    && /opt/portal-monitor/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml setup.py README.md LICENSE probes.yaml ./
COPY alerts alerts
COPY monitor monitor
RUN rm -rf monitor/sandbox && /opt/portal-monitor/bin/pip install --no-cache-dir --no-deps . \
    && /opt/portal-monitor/bin/pip uninstall --yes --quiet setuptools pip

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portal-monitor" \
      org.opencontainers.image.description="Watches over the Customer Portal: probes, severities, incidents and pages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --home-dir /var/lib/portal-monitor --create-home --shell /usr/sbin/nologin portal-monitor \
    && rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/site-packages/setuptools* \
        /usr/local/lib/python3*/site-packages/wheel* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip*
COPY --from=build /opt/portal-monitor /opt/portal-monitor
COPY probes.yaml /etc/portal-monitor/
COPY alerts /etc/portal-monitor/alerts
# Nothing is written outside the volume: it runs on a read-only file system (docker run --read-only).
ENV PATH=/opt/portal-monitor/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MONITOR_LISTEN=0.0.0.0:9877
WORKDIR /etc/portal-monitor
USER 10001
VOLUME /var/lib/portal-monitor
EXPOSE 9877
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python3", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['MONITOR_LISTEN'].rpartition(':')[2] + '/-/healthy', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["portal-monitor"]
CMD ["run", "-c", "/etc/portal-monitor/probes.yaml", "--log-format", "json"]
