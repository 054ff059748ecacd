"""Monitoring: from the labels of all periods so far to prevalence, labelers and alerts of the latest period, in an
object store.

    outcome = monitor("s3://bucket/labels", "s3://bucket/scores", out="s3://bucket/monitoring", time="week")
    outcome.status, outcome.document["alerts"]

    alerts     findings to examine, from a result of ``crowdjax.context`` with periods
    outputs    metrics, one row a period, the file of alerts, the page
    run        inputs → fit → the store, once for each inputs and settings

docs/monitoring.md says what is in the store and how to schedule it.
"""

from crowdjax.monitoring.alerts import Alert, Rules, alerts_of
from crowdjax.monitoring.outputs import document, metrics
from crowdjax.monitoring.run import Outcome, monitor

__all__ = ["Alert", "Outcome", "Rules", "alerts_of", "document", "metrics", "monitor"]
