# Dailies on an AMD GPU. Not built here: there was neither Docker nor an AMD GPU at hand when it was written.
#
#   docker build -f docker/rocm.Dockerfile -t dailies:rocm .
#   docker run --rm -p 127.0.0.1:7860:7860 --device /dev/kfd --device /dev/dri --group-add video --group-add render \
#     --ipc host --shm-size 16g --init -v "$PWD/workspace:/workspace" dailies:rocm
#
# The image brings ROCm and a PyTorch that fits it; pip is told to leave that one alone. Do not set
# ROCR_VISIBLE_DEVICES: choose GPUs with HIP_VISIBLE_DEVICES, or by passing fewer of /dev/dri/renderD*.
ARG BASE=rocm/pytorch:latest
FROM ${BASE}

RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dailies
COPY . .
# Hold the versions of torch and torchvision that are there: another wheel would be one for CUDA.
RUN python3 -c "import torch; assert torch.version.hip, 'this image has no PyTorch for ROCm'" \
    && python3 -m pip freeze | grep -iE '^(torch|torchvision|triton|pytorch-triton-rocm) *(==|@)' > /tmp/held.txt \
    && python3 -m pip install --no-cache-dir -c constraints.txt -c /tmp/held.txt . \
    && python3 -c "import torch; assert torch.version.hip, 'pip replaced PyTorch'"

# What Dailies sets for ROCm (MIOPEN_FIND_MODE and others) it sets itself, where processes start; see the System tab.
ENV DAILIES_WORKSPACE=/workspace
VOLUME /workspace
EXPOSE 7860
# `--init` above makes pid 1 collect children that ended; a stopped container marks its jobs lost, and they can be resumed.
# Everybody who reaches the port has to log in. The first start creates the users file with one researcher, "admin", and
# prints a random password: `docker logs` shows it. More users: `docker exec ... dailies users add NAME --file ...`.
CMD ["dailies", "serve", "--host", "0.0.0.0", "--port", "7860", "--auth", "/workspace/users.json", "--first-user", "admin"]
