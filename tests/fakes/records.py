"""Begins and ends single records as the pipeline does."""

from backend.features.generation.record import Answered, Asked, Record, Recorder, came_to_nothing


async def begin(recorder: Recorder, asked: Asked) -> Record | None:
    """Begin a record and wait until its request may be answered; None when there is nothing to keep."""
    record = recorder.begin(asked)
    if record is None:
        return None
    try:
        await record.begun()
    except BaseException as error:
        await end(record, came_to_nothing(error))
        raise
    return record


async def end(record: Record, answered: Answered) -> None:
    """End a record and wait until it is kept."""
    if (wait := record.finish(answered)) is not None:
        await wait
