"""JupyterLab for people with accounts here: how it is started, who may enter, whose kernel is whose.

It runs code of its users, so it holds no key, password or database, and runs as another user of the machine than the
services once several people use them. What opens it is the gateway's session, looked up every few seconds.
"""
