# Two stages: the first has what it takes to install, the second only what it takes to run. No sandbox, no tests.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/portal-monitor \
    && /opt/portal-monitor/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY monitor monitor
RUN /opt/portal-monitor/bin/pip install --no-cache-dir --no-deps . \
    && rm -rf /opt/portal-monitor/lib/python3.11/site-packages/monitor/sandbox \
    && /opt/portal-monitor/bin/pip uninstall --yes pip

FROM python:3.11-slim
LABEL org.opencontainers.image.title="portal-monitor" \
      org.opencontainers.image.description="Watches over the Customer Portal: probes, severities, incidents and pages" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /var/lib/portal-monitor --create-home portal-monitor
COPY --from=build /opt/portal-monitor /opt/portal-monitor
COPY probes.yaml /etc/portal-monitor/
COPY alerts /etc/portal-monitor/alerts
USER 10001
VOLUME /var/lib/portal-monitor
EXPOSE 9877
ENV PATH=/opt/portal-monitor/bin:$PATH PYTHONUNBUFFERED=1
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9877/-/healthy', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["portal-monitor"]
CMD ["run", "-c", "/etc/portal-monitor/probes.yaml", "--log-format", "json"]
