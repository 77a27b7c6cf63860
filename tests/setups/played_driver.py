"""A library of the CUDA driver that only plays its part: there is no card here."""

CONTEXT, OTHER_CONTEXT = 4711, 4712


class PlayedLibrary:
    """Stands for libcuda: notes every call, and fails those it is told to.

    Attributes:
        calls: names and arguments, in order.
        failing: error codes by the name of the call.
        refused: images that are not loaded.
    """

    def __init__(self):
        self.calls, self.failing, self.refused, self.current = [], {}, set(), OTHER_CONTEXT

    def __getattr__(self, name):
        if not name.startswith("cu") or name in self.__dict__.get("absent", ()):
            raise AttributeError(name)

        def call(*arguments):
            return self._answer(name, arguments)

        setattr(self, name, call)
        return call

    def _answer(self, name, arguments):
        self.calls.append((name, arguments))
        target = getattr(arguments[0], "_obj", None) if arguments else None
        if name == "cuGetErrorName":
            arguments[1]._obj.value = b"CUDA_ERROR_PLAYED"
        elif name == "cuGetErrorString":
            arguments[1]._obj.value = b"as told"
        elif name == "cuDevicePrimaryCtxRetain":
            target.value = CONTEXT
        elif name == "cuCtxGetCurrent":
            target.value = self.current
        elif name == "cuDriverGetVersion":
            target.value = 12080
        elif name == "cuLibraryLoadData":
            target.value = 1
            if arguments[1] in self.refused:
                return 209
        elif name in ("cuLibraryGetKernel", "cuKernelGetFunction"):
            target.value = 2
        return self.failing.get(name, 0)

    def names(self):
        return [name for name, _ in self.calls]
