"""The fates of the pretend Camb's tasks come from its settings alone."""

from simulated import BODIES, LONG_S, bench

from cambwatch.simulator import Faults, Settings


async def story_of(seed: int, *, order: str = "ab") -> list:
    """Ids, outcomes and faulty polls of one run; *order* is in which order two tasks are polled."""
    faults = Faults(rate_limited=0.5, retry_after_seconds=None)
    async with bench(Settings(seed=seed, mix={"SUCCESS": 1, "ERROR": 1, "TIMEOUT": 1}, faults=faults)) as camb:
        ids = [(await camb.post("/tts", BODIES["tts"]))[1]["task_id"] for _ in range(8)]
        told = {}
        for name in order:
            task_id = ids["ab".index(name)]
            told[name] = [(await camb.get(f"/tts/{task_id}"))[0] for _ in range(20)]
        camb.simulator.faults = Faults()
        ends = []
        for seconds in (5, 8, 13, LONG_S):
            camb.clock.now_s = 50 + seconds
            ends.append([(await camb.get(f"/tts/{task_id}"))[1] for task_id in ids])
        return [ids, sorted(told.items()), ends]


async def test_one_seed_tells_one_story():
    """The same seed gives the same ids, durations, ends and faults, whatever the order of polls; another does not."""
    first = await story_of(1)
    assert await story_of(1) == first
    assert await story_of(1, order="ba") == first
    other = await story_of(2)
    assert all(ours != theirs for ours, theirs in zip(first, other, strict=True))


async def test_added_tasks_do_not_change_the_fate_of_others():
    """The end and the duration of the n-th created task do not depend on what was registered besides."""
    fates = []
    for extra in (0, 3):
        async with bench(Settings(mix={"SUCCESS": 1, "ERROR": 1})) as camb:
            for _ in range(extra):
                camb.simulator.add_task("dub")
            ids = [(await camb.post("/tts", BODIES["tts"]))[1]["task_id"] for _ in range(12)]
            camb.clock.now_s += 8
            halfway = [(await camb.get(f"/tts/{each}"))[1]["status"] for each in ids]
            camb.clock.now_s += LONG_S
            fates.append((halfway, [(await camb.get(f"/tts/{each}"))[1]["status"] for each in ids]))
    assert fates[0] == fates[1]
    assert len(set(fates[0][1])) == 2


async def test_speed_divides_durations():
    """A hundred times the speed, a hundredth of the time."""
    for speed in (1, 100):
        async with bench(Settings(speed=speed)) as camb:
            _, created = await camb.post("/dub", BODIES["dub"])
            seen = []
            for seconds in (180 / 8 / speed, 180 * 8 / speed):  # the median over and times eight: four sigmas
                camb.clock.now_s = 50 + seconds
                seen.append((await camb.get(f"/dub/{created['task_id']}"))[1]["status"])
            assert seen == ["PENDING", "SUCCESS"]
