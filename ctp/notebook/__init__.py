"""What notebooks call: candles, accounts and where one is, whether they run on one's own machine or in the shared JupyterLab.

On one's own machine everything is read from CTP_HOME. In a JupyterLab that runs apart it is read through the gateway as
the person who is logged in, and stored candles cannot be changed.
"""
