"""What is refused before a run begins: without the device as far as possible, and then by what the device says."""

from __future__ import annotations

from scbp_host.config import RunConfig
from scbp_host.device.client import DeviceClient
from scbp_host.domain.candidate import SeedSpec
from scbp_host.domain.device import DeviceProfile
from scbp_host.domain.resources import ENERGY
from scbp_host.events import Listener, Warned
from scbp_host.export.formats import converter_for
from scbp_host.export.precision import check_precisions
from scbp_host.measuring.reserving import Wants, reserve
from scbp_host.profiles import require_clocks
from scbp_host.space.seeds import build_seed, load_weights
from scbp_host.space.survey import Survey, require_classifier, survey_seed
from scbp_host.stages.binning import bin_offline
from scbp_host.stages.space import configured_space
from scbp_host.tasks.datasets import names_own_task
from scbp_host.transport.base import open_transport


def check_profile(config: RunConfig, profile: DeviceProfile) -> None:
    """Refuse what this device, or this machine, has no way to; raises UsageError."""
    check_precisions(profile, config.precision)
    # Made, not used: they refuse a profile without an address, and a machine without pnnx. What can fail without the
    # device fails before it is troubled, and what fails before the device has answered leaves no run behind.
    open_transport(profile)
    if config.lock_clocks:
        require_clocks(profile)
    converter_for(profile.runtime)


def checked_survey(config: RunConfig, spec: SeedSpec, profile: DeviceProfile) -> Survey:
    """Return what the seed is made of.

    Args:
        config: what to do.
        spec: the seed.
        profile: of the device.

    Raises:
        UsageError: no such run can be made of the seed: by its output, its superblocks or its ratios.
        ModelError: the seed cannot be built, or the weights are not its own.
    """
    survey = survey_seed(spec)
    if not names_own_task(config.data):
        require_classifier(survey)
    configured_space(config, spec, bin_offline(survey, config).superblocks, profile)
    _check_weights(config, spec)
    return survey


def take_device(client: DeviceClient, config: RunConfig, wait_s: float, listen: Listener) -> None:
    """Have the device to ourselves, once it is known to do what is asked.

    Args:
        client: a connected device.
        config: what to do.
        wait_s: how long to wait for another session to end.
        listen: told of waiting.

    Raises:
        UsageError: its runtime builds nothing.
        DeviceError: it lacks the runtime, or a sensor for a budget, or stays in use.
    """
    # From the beginning to the end, trainings included: an hour into a run, a board in use would be a surprise.
    wants = Wants(
        f"run in {config.out.resolve()}",
        builds=(config.builds or 1) > 1,
        energy=ENERGY in config.resource_budgets,
        held_clocks=config.lock_clocks,
    )
    reserve(client, wants, wait_s, lambda message: listen(Warned(message)))


def _check_weights(config: RunConfig, spec: SeedSpec) -> None:
    """Raise ModelError where the weights given are not the seed's."""
    if config.weights is not None:
        load_weights(build_seed(spec), config.weights)
