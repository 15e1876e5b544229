# Dailies on an NVIDIA GPU. Not built here: there was no Docker at hand when it was written.
#
#   docker build -f docker/cuda.Dockerfile -t dailies:cuda .
#   docker run --rm -p 127.0.0.1:7860:7860 --gpus all --ipc host --shm-size 16g --init \
#     -v "$PWD/workspace:/workspace" dailies:cuda
ARG BASE=python:3.11-slim
FROM ${BASE}

RUN apt-get update \
    && apt-get install -y --no-install-recommends make git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dailies
COPY . .
# The wheels of PyTorch bring CUDA with them; the host brings the driver.
RUN python3 -m pip install --no-cache-dir -c constraints.txt .

ENV DAILIES_WORKSPACE=/workspace
VOLUME /workspace
EXPOSE 7860
# Everybody who reaches the port has to log in. The first start creates the users file with one researcher, "admin", and
# prints a random password: `docker logs` shows it. More users: `docker exec ... dailies users add NAME --file ...`.
CMD ["dailies", "serve", "--host", "0.0.0.0", "--port", "7860", "--auth", "/workspace/users.json", "--first-user", "admin"]
