# JupyterLab as the browser test runs it: nothing from outside, and a line for each request in the file that
# APP_PROXY_TEST_REQUESTS names. WebSockets have theirs when they open.
import json
import os


def log_function(handler):
    request = handler.request
    line = {
        "method": request.method,
        "path": request.path,
        "status": handler.get_status(),
        "request_ids": request.headers.get_list("X-Backend-Request-ID"),
    }
    with open(os.environ["APP_PROXY_TEST_REQUESTS"], "a") as requests:
        requests.write(json.dumps(line) + "\n")


c = get_config()  # noqa: F821
c.ServerApp.tornado_settings = {"log_function": log_function}
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
