"""JupyterLab with the gateway's people."""
