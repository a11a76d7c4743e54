"""Read by JupyterLab alone: Voila and nbconvert look for files of other names."""

from ctp.lab.server import configure

configure(get_config())  # noqa: F821 - Jupyter's own name
