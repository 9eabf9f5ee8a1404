"""Sources as operators manage them."""

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from app.consistency.check_repository import CheckRepository
from app.consistency.file_check_repository import Clock
from app.consistency.models import Source
from app.consistency.sources.cloud import CloudClient
from app.consistency.sources.contract import ContractClient
from app.consistency.sources.repository import SourceRepository
from app.consistency.sources.schemas import NewSource, SourceChange, SourceKind, SourceTest
from app.database.engine import Database
from app.errors import Conflict, FieldError, Unprocessable
from app.outbound.address import AddressPolicy
from app.outbound.endpoint import UrlRefused, change_headers, check_url, encrypt_headers, list_header_names
from app.outbound.secret import SecretCipher

MAX_SOURCES = 20


class TooManySources(Conflict):
    code, detail = "too-many-sources", f"There are {MAX_SOURCES} sources, the maximum."


class FixedByEnvironment(Unprocessable):
    """422: these members of the source `cloud` come from the environment."""

    def __init__(self, names: Sequence[str]) -> None:
        message = "It comes from the environment"
        errors = [FieldError(loc=["body", name], msg=message, type="fixed_by_environment") for name in names]
        super().__init__("Of this source only `grace_seconds` and `enabled` can be changed.", errors=errors)


class SourceOfEnvironment(Conflict):
    code = "source-of-environment"
    detail = "The source exists because METADATA_SERVICE_URL is set; it can only be disabled."


class SourceService:
    """Each call is one transaction; no source is asked inside it."""

    def __init__(
        self,
        database: Database,
        cipher: SecretCipher,
        contract: ContractClient,
        cloud: CloudClient,
        *,
        policy: AddressPolicy,
        clock: Clock,
    ) -> None:
        self._database = database
        self._cipher = cipher
        self._policy = policy
        self._contract = contract
        self._cloud = cloud
        self._clock = clock

    def header_names(self, source: Source) -> list[str] | None:
        """The names of its headers; None when no key decrypts them."""
        return list_header_names(self._cipher, source.headers)

    async def create_source(self, new: NewSource) -> Source:
        """Add a source.

        Raises:
            UrlRefused: 422.
            TooManySources: 409.
            NoEncryptionKey: 503.
        """
        self._check_url(new.url)
        headers = encrypt_headers(self._cipher, new.headers)
        async with self._database.transaction() as session:
            repository = SourceRepository(session)
            await repository.lock()
            if len(await repository.list_all()) >= MAX_SOURCES:
                raise TooManySources
            source = Source(
                id=uuid7(),
                headers=headers,
                deleted=False,
                created_at=await self._clock(session),
                **new.model_dump(exclude={"headers"}),
            )
            await repository.add(source)
        return source

    async def change_source(self, source_id: UUID, change: SourceChange) -> Source:
        """Change what `change` names.

        Raises:
            NotFound: 404.
            UrlRefused, TooManyHeaders, FixedByEnvironment: 422.
            NoEncryptionKey, EncryptionKeyMissing: 503.
        """
        sent = change.model_fields_set
        fixed = sorted(sent - {"grace_seconds", "enabled"})
        if "url" in sent:
            self._check_url(change.url)
        async with self._database.transaction() as session:
            source = await SourceRepository(session).get(source_id, for_change=True)
            if source.kind == SourceKind.CLOUD and fixed:
                raise FixedByEnvironment(fixed)
            for name in sent - {"headers"}:
                setattr(source, name, getattr(change, name))
            if "headers" in sent:
                source.headers = change_headers(self._cipher, source.headers, change.headers, "source")
        return source

    async def delete_source(self, source_id: UUID) -> None:
        """Hide the source and cancel its checks; the background removes its rows.

        Raises:
            NotFound: 404.
            SourceOfEnvironment: 409.
        """
        async with self._database.transaction() as session:
            source = await SourceRepository(session).get(source_id, for_change=True)
            if source.kind == SourceKind.CLOUD and self._cloud.url:
                raise SourceOfEnvironment
            source.deleted, source.headers = True, None
            await CheckRepository(session).cancel_all(source_id, await self._clock(session))

    async def test_source(self, source_id: UUID) -> SourceTest:
        """Ask the source once, for something that changes nothing; raises `NotFound` (404)."""
        async with self._database.read() as session:
            source = await SourceRepository(session).get(source_id)
        return await (self._cloud if source.kind == SourceKind.CLOUD else self._contract).test(source)

    def _check_url(self, url: str) -> None:
        if "?" in url:
            raise UrlRefused("The URL must not have a query", "source")
        check_url(self._policy, url, "source")
