"""# Deployed: from an object store to alerts, every week

Instances are sampled by a classifier's score and labelled by people. Every week their labels, scores and sampling
weights are written to an object store. A scheduler then calls one command, which fits all weeks so far and writes
results, a page and the alerts of the latest week back ([Monitoring](../monitoring.md)). Here the store is a local
server with the S3 protocol, from the package moto. The crowd is simulated: in the eighth week positives become more
frequent, and bob errs more from the fourth week on.
"""

import io
import json
import logging
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from moto.server import ThreadedMotoServer
from pyarrow import fs

from crowdjax import simulate

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ |= {
    "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip
store = fs.S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True)
store.create_dir("crowd")
PEOPLE = np.array(["ann", "bob", "cat", "dan", "eve", "fay"])


def upload(week: int) -> float:
    """Draw 300 instances of a week by score, label each three times; return the population's share of positives."""
    rng = np.random.default_rng([2, week])
    everyone = rng.beta(0.8, 4, 20_000)
    prevalence, _, _ = simulate.scenario_functions(everyone, "poor")
    odds = (4 if week == 8 else 1) * prevalence / (1 - prevalence)
    positive = rng.random(len(everyone)) < odds / (1 + odds)
    chance = 300 * (0.1 + everyone) / (0.1 + everyone).sum()
    drawn = simulate.systematic(rng, chance, 300)
    truth, instance = positive[drawn], np.repeat(np.arange(300), 3)
    labeler = np.concatenate([rng.permutation(len(PEOPLE))[:3] for _ in drawn])
    worse = (labeler == 1) & (week >= 4)
    right = np.where(truth[instance], np.where(worse, 0.4, 0.88), np.where(worse, 0.75, 0.95))
    label = (rng.random(len(right)) < right) == truth[instance]
    ids = np.array([f"w{week}-{k:03}" for k in range(300)])
    tables = {
        "labels": {"labeler": PEOPLE[labeler], "instance": ids[instance], "label": label.astype(int)},
        "scores": {"instance": ids, "score": everyone[drawn]},
        "weights": {"instance": ids, "weight": 1 / chance[drawn]},
    }
    for name, table in tables.items():
        with store.open_output_stream(f"crowd/{name}/week=2026-W{week:02}/part-0.parquet") as file:
            pq.write_table(pa.table(table), file)
    return positive.mean()


def monitor(*more: str) -> int:
    """Run the command of the scheduler; print its alerts and return its exit status."""
    words = ["s3://crowd/labels", "--scores", "s3://crowd/scores", "--weights", "s3://crowd/weights", "--time", "week"]
    command = [sys.executable, "-m", "crowdjax", "monitor", *words, "--out", "s3://crowd/monitoring", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if "alert:" in line or "done before" in line or done.returncode in (1, 2, 75):
            print(" ", re.sub("runs/[0-9a-f]+", "runs/RUN", line.partition(": When")[0]))
    return done.returncode


def read(name: str) -> bytes:
    with store.open_input_stream(f"crowd/monitoring/{name}") as file:
        return file.read()


truth = [upload(week) for week in range(1, 8)]
statuses = {}
print("seven weeks")
statuses["seven weeks"] = monitor()
print("exit status", statuses["seven weeks"])
print("the same again")
statuses["again"] = monitor()
print("exit status", statuses["again"])
truth.append(upload(8))
print("the eighth week, with a limit of 5 % for the prevalence")
statuses["eight weeks"] = monitor("--limit", "0.05", "--expect", "2026-W08")
print("exit status", statuses["eight weeks"])

latest = json.loads(read("latest.json"))
found = json.loads(read(latest["alerts"]))
metrics = pq.read_table(io.BytesIO(read(latest["metrics"])))
print("\nweek       share of positives     true share")
for row, share in zip(metrics.to_pylist(), truth, strict=True):
    print(f"{row['period']}   {row['prevalence']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})   {share:.3f}")
print("\nthe first alert in alerts.json")
print(json.dumps(found["alerts"][0], indent=1))

os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
print("\nthe store is not available")
statuses["not available"] = monitor()
print("exit status", statuses["not available"])
os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"

print("\nfiles in the store")
names = [file.path for file in store.get_file_info(fs.FileSelector("crowd/monitoring", recursive=True)) if file.is_file]
for name in names:
    if "/result/" not in name and ("/runs/" not in name or latest["run"] in name):
        print(" ", name.replace(latest["run"], "RUN"))
print(" ", len({name.split("/")[3] for name in names if "/runs/" in name}), "runs, each with its result")
server.stop()
