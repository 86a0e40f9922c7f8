"""Each generation's adapter can only be imported where that solo-learn is installed."""

from solo_intl.detect import HEAD, find_host

collect_ignore_glob = (
    ["solo_intl/host/legacy*.py"] if find_host().generation == HEAD else ["solo_intl/host/head.py"]
)
