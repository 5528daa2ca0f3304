"""Errors as OpenAI's API has them."""

__all__ = ["ApiError", "error_body"]

TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "invalid_request_error",
         405: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error",
         500: "server_error", 503: "service_unavailable_error"}


class ApiError(Exception):
    """An answer that is an error: status, one line, and perhaps the name of the parameter, a code and headers."""

    def __init__(self, status, message, *, param=None, code=None, headers=None):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    @property
    def body(self):
        return error_body(self.status, self.message, self.param, self.code)


def error_body(status, message, param=None, code=None):
    return {"error": {"message": message, "type": TYPES.get(status, "server_error"), "param": param, "code": code}}
