"""The process that answers HTTP: probes, metrics, the page. Nothing here runs in the daemon."""
