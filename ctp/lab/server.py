"""How Jupyter's server is set up. Read by `jupyter_config/jupyter_server_config.py`, inside that server alone."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from ctp.api_client import LAB_API
from ctp.config import PROJECT, Settings, load_settings
from ctp.lab.workspace import lay_out

FIRST_PAGE = "/lab/tree/research/00_start.ipynb"
_IDLE_S = 12 * 3600


def configure(config: Any) -> None:
    """Set the server up for whoever started it: apart from the services, or as their own user."""
    settings = load_settings()
    config.ServerApp.ip = "127.0.0.1"
    config.ServerApp.port = settings.lab.port
    config.ServerApp.port_retries = 0
    config.ServerApp.allow_root = True  # who starts it as root on a machine of their own knows; apart it never is root
    config.ServerApp.allow_unauthenticated_access = False
    # Voila inside JupyterLab would run code without the gateway's filters.
    config.ServerApp.jpserver_extensions = {"voila.server_extension": False}
    config.LabApp.default_url = FIRST_PAGE
    config.LabApp.news_url = None  # nothing is fetched from outside
    config.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
    config.LabApp.extension_manager = "readonly"
    config.ServerApp.kernel_manager_class = "ctp.lab.background_kernels.BackgroundKernels"
    config.MappingKernelManager.cull_idle_timeout = _IDLE_S
    if os.environ.get(LAB_API):
        _apart(config, settings)
    else:
        config.ServerApp.root_dir = str(PROJECT / "notebooks")


def _apart(config: Any, settings: Settings) -> None:
    """Let in the gateway's people, each with kernels of their own."""
    config.ServerApp.root_dir = str(lay_out(settings.home / "notebooks"))
    config.ServerApp.open_browser = False
    config.ServerApp.answer_yes = True  # nobody is at the terminal who could be asked whether to stop
    config.ServerApp.terminals_enabled = False
    config.KernelManager.transport = "ipc"  # files of ours, not ports that every user of the machine may knock at
    config.ServerApp.identity_provider_class = "ctp.lab.identity.CtpIdentityProvider"
    config.ServerApp.authorizer_class = "ctp.lab.kernels.OwnerAuthorizer"
    config.ServerApp.kernel_manager_class = "ctp.lab.kernels.OwnedKernels"
    config.ServerApp.session_manager_class = "ctp.lab.kernels.OwnSessions"
    config.CtpIdentityProvider.public_url = settings.lab.public_url.rstrip("/")
    host = urlsplit(settings.lab.public_url).hostname
    if host:
        config.ServerApp.local_hostnames = ["localhost", host]
        config.ServerApp.trust_xheaders = True
