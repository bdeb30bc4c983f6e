"""The stages of a run, one file each; :mod:`scbp_host.pipeline` alone knows their order."""
