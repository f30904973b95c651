# The package with ROS 2's wheels, ready to run: docker build -t spaars_ros . && docker run -it spaars_ros
# Untried: written to the documentation and checked by hadolint.
FROM python:3.12-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git libosmesa6 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/spaars_ros
COPY . .
RUN ./run setup
ENV PATH="/opt/spaars_ros/.venv/bin:$PATH" MUJOCO_GL=osmesa
ENTRYPOINT ["spaars"]
CMD ["--help"]
