"""The operations' own sentences in German; in English they say themselves.

Each stands under its English pattern (`amtsbote.operations.sentences`). What Amtsbote "wird" ends with the verb.
"""

GERMAN: dict[str, str] = {
    # what an action will do: "Amtsbote wird …"
    "put {files} of {name} into the inbox, unreadable as it is, and tell the backend; {then}": (
        "{files} von {name} in den Eingang legen, unlesbar wie es ist, und dem Fachverfahren Bescheid geben; {then}"
    ),
    "its portal is then told that we have it": "das Portal erfährt dann, dass wir es haben",
    "its portal is told when the backend has processed it": (
        "das Portal erfährt es, wenn das Fachverfahren es verarbeitet hat"
    ),
    "its portal is not told": "das Portal erfährt davon nicht",
    "mark {name} as processed in the backend's stead, and have {portal} told of it": (
        "{name} anstelle des Fachverfahrens als verarbeitet kennzeichnen und {portal} davon Bescheid geben lassen"
    ),
    "have {portal} told of {name}": "{portal} von {name} Bescheid geben lassen",
    "have {portal} told once more of {name}, which is in the inbox": (
        "{portal} noch einmal von {name} Bescheid geben lassen, das im Eingang liegt"
    ),
    "fetch {name} again from {portal}": "{name} noch einmal von {portal} abholen",
    "send version {version} of {key} again; what its portal got of it before, it may get twice": (
        "die Fassung {version} von {key} noch einmal senden; was das Portal schon hat, bekommt es womöglich doppelt"
    ),
    "send version {version} of {key}": "die Fassung {version} von {key} senden",
    "leave {name} in quarantine, and note that this was decided": (
        "{name} in Quarantäne lassen und vermerken, dass das so entschieden wurde"
    ),
    "switch {connection} on": "{connection} einschalten",
    "switch {connection} off; nothing of it is lost, and drops for it wait": (
        "{connection} ausschalten; nichts davon geht verloren, und Sendungen dafür warten"
    ),
    "store the secret {secret}, which switches {connection} on": (
        "das Geheimnis {secret} speichern, womit {connection} eingeschaltet ist"
    ),
    "list everything that {names} has, fetch what is missing, and report what differs": (
        "alles auflisten, was {names} hat, das Fehlende abholen und berichten, was abweicht"
    ),
    "ask {portal} for {name} once more; where it is gone, it becomes UNAVAILABLE": (
        "{portal} noch einmal nach {name} fragen; ist es dort fort, so gilt es als nicht verfügbar"
    ),
    "tell {portal} of {name} once more; where it is gone there, the row says so": (
        "{portal} noch einmal von {name} Bescheid geben; ist es dort fort, so steht das danach in seinem Verlauf"
    ),
    "restore {files} of {name} from older versions": "{files} von {name} aus älteren Fassungen wiederherstellen",
    "delete what is left of {name} (its versions stay) and fetch it again from {portal}": (
        "löschen, was von {name} übrig ist (die Fassungen bleiben), und es noch einmal von {portal} abholen"
    ),
    # what a test of a connection found
    "the secret is well-formed; it only sends, so no login was tried": (
        "das Geheimnis ist richtig aufgebaut; die Anbindung sendet nur, darum wurde keine Anmeldung versucht"
    ),
    "the login works, and the portal lists {count} documents": (
        "die Anmeldung gelingt, und das Portal führt {count} Dokumente auf"
    ),
    "{code}: {message}": "{code}: {message}",
    "nothing was stored: {why}": "nichts wurde gespeichert: {why}",
    # why something cannot be done
    "{name} is {state}; only what is in quarantine can be released": (
        "{name} hat den Stand „{state}“; freigegeben werden kann nur, was in Quarantäne ist"
    ),
    "{name} is {state}; only what is in quarantine can be kept": (
        "{name} hat den Stand „{state}“; behalten werden kann nur, was in Quarantäne ist"
    ),
    "of {name} no bytes could be kept; fetch it again with `retry`": (
        "von {name} konnten keine Bytes aufbewahrt werden; holen Sie es noch einmal ab"
    ),
    "{name} is {state}; a portal is told only of what is stored": (
        "{name} hat den Stand „{state}“; ein Portal erfährt nur von dem, was gespeichert ist"
    ),
    "the connection of {name} never tells its portal; change `acknowledge` in its secret": (
        "die Anbindung von {name} gibt ihrem Portal nie Bescheid; ändern Sie `acknowledge` in ihrem Geheimnis"
    ),
    "{name} is {state}; there is nothing to fetch again": (
        "{name} hat den Stand „{state}“; es gibt nichts noch einmal abzuholen"
    ),
    "{name} is {state} and waits for its {what} at the portal; there is nothing to fetch again": (
        "{name} hat den Stand „{state}“ und wartet am Portal auf „{what}“; es gibt nichts noch einmal abzuholen"
    ),
    "{name} is {state} and due by itself at {at:%Y-%m-%d %H:%M} UTC; there is nothing to fetch again": (
        "{name} hat den Stand „{state}“ und ist um {at:%H:%M} UTC am {at:%d.%m.%Y} von selbst an der Reihe; es gibt "
        "nichts noch einmal abzuholen"
    ),
    "{key} is {state}; only what failed can be sent again": (
        "{key} hat den Stand „{state}“; noch einmal gesendet werden kann nur, was fehlgeschlagen ist"
    ),
    "{key} would fail again ({code}: {message}); mend it and drop it as a new version": (
        "{key} würde wieder fehlschlagen ({code}: {message}); bringen Sie es in Ordnung und legen Sie es neu ab"
    ),
    "{key} names no portal": "{key} nennt kein Portal",
    "{name} is {state} by now": "{name} hat inzwischen den Stand „{state}“",
    "unknown": "unbekannt",
    "version {version} of {key}": "die Fassung {version} von {key}",
    "version {version} was deleted; drop the file again": (
        "die Fassung {version} wurde gelöscht; legen Sie die Datei noch einmal ab"
    ),
    "{name} is as it was stored by now": "{name} ist inzwischen so, wie es gespeichert wurde",
    "of {name} no version that fits is left, and its portal was told that we have it; ask the portal's operator": (
        "von {name} gibt es keine passende Fassung mehr, und das Portal weiß schon, dass wir es haben; fragen Sie den "
        "Betreiber des Portals"
    ),
    "{about}: {difference}; nothing can be done about it from here": (
        "{about}: {difference}; von hier aus ist dagegen nichts zu tun"
    ),
    "there is no report of {connection}; ask for one with `reconcile`": (
        "es gibt keinen Bericht über {connection}; beauftragen Sie zuerst einen Abgleich"
    ),
    "there is no such difference in that report": "eine solche Abweichung steht nicht in jenem Bericht",
    "there is no report of such a moment": "aus jener Zeit gibt es keinen Bericht",
    "no report of {connection} within {seconds:.0f} s; look with `status` whether it works": (
        "kein Bericht über {connection} in {seconds:.0f} s; sehen Sie im Überblick nach, ob sie arbeitet"
    ),
    "there are more than {count} dead letters; redrive one portal at a time": (
        "mehr als {count} Anfragen wurden aufgegeben; reihen Sie ein Portal nach dem anderen wieder ein"
    ),
    "there is no such action": "diese Aktion gibt es nicht",
    "there is no such connection": "diese Anbindung gibt es nicht",
    "there is a secret {secret}; a new one needs another name": (
        "es gibt schon ein Geheimnis {secret}; ein neues braucht einen anderen Namen"
    ),
    "there is no secret {secret}, or it is no JSON": "es gibt kein Geheimnis {secret}, oder es ist kein JSON",
    "the secret {secret} is no JSON object": "das Geheimnis {secret} ist kein JSON-Objekt",
    "{name} is no portal; there are {portals}": "{name} ist kein Portal; es gibt {portals}",
    "{name} cannot be a connection's name: {rule}": "{name} kann keine Anbindung heißen: {rule}",
    "it is made of a-z, 0-9 and -, at most 40 of them": "der Name besteht aus a-z, 0-9 und -, höchstens 40 Zeichen",
    "{name} cannot be a connection": "{name} kann keine Anbindung sein",
    "nothing is known of {name}; look for it with `documents`": (
        "von {name} ist nichts bekannt; suchen Sie es unter den Dokumenten"
    ),
    "{name} may be any of {names}; name one of them in full": (
        "{name} kann {names} sein; nennen Sie eines davon vollständig"
    ),
    "{name} is a delivery, and this is about what arrives": "{name} geht hinaus, und hier geht es um das, was ankommt",
    "more than {count} documents are found by {text}; give more of the word": (
        "mehr als {count} Dokumente passen zu {text}; geben Sie mehr von dem Wort an"
    ),
    "every document of {portal} has a {text}; ask for what came in from it (--in --portal {portal})": (
        "jedes Dokument von {portal} hat eine Datei {text}; suchen Sie nach dem, was von {portal} ankam"
    ),
    "{name} is no state; there are {states}": "{name} ist kein Stand; es gibt {states}",
    "{text} is no day; say it as 2026-02-17": "{text} ist kein Tag; schreiben Sie ihn als 2026-02-17",
    "the document has no such file, or has it no longer": "diese Datei hat das Dokument nicht, oder nicht mehr",
    "a page has 1 to {count} documents": "eine Seite hat 1 bis {count} Dokumente",
    "{path} exists; name another folder": "{path} gibt es schon; nennen Sie einen anderen Ordner",
    "there is no receipt of {key}; it is the key in the outbox bucket": (
        "es gibt keine Quittung für {key}; gemeint ist der Schlüssel im Ausgang"
    ),
}
