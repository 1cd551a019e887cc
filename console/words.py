"""Every word of the console, in German and in English; `Words` picks the reader's language.

The operations' own sentences are in `console.sentences`, the codes' in `console.reasons`.

A key stands for one text. `state.…`, `portal.…`, `reason.…` and `action.…` are asked for by names that the package has.
"""

from enum import StrEnum

from amtsbote.operations.sentences import Sentence
from console.reasons import REASONS
from console.sentences import GERMAN

DEFAULT_LANGUAGE = "de"
LANGUAGES = ("de", "en")


class Words:
    """The texts of one language: `words("search.title")`, with values where a text names some."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._index = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        """Return a text; KeyError where there is none."""
        return CATALOGUE[key][self._index].format(**values)

    def known(self, key: str) -> str | None:
        """Return a text, None where there is none: for codes of which only some have words of their own."""
        return self(key) if key in CATALOGUE else None

    def spoken(self, text: str) -> str:
        """Return an operation's sentence in the reader's language; what it does not know, it leaves as it is."""
        if not self.knows(text) or not isinstance(text, Sentence):
            return text
        return GERMAN[text.pattern].format(**{name: self._value(value) for name, value in text.values.items()})

    def tongue(self, text: str) -> str:
        """Return the language in which `spoken` says it, as HTML names it."""
        return self.language if self.knows(text) else "en"

    def knows(self, text: str) -> bool:
        """Return whether a sentence has one in the reader's language, where that is another than its own."""
        return self.language == "de" and isinstance(text, Sentence) and text.pattern in GERMAN

    def _value(self, value: object) -> object:
        if isinstance(value, StrEnum):
            return self.known(f"state.{value}") or value
        return self.spoken(value) if isinstance(value, Sentence) else value


CATALOGUE: dict[str, tuple[str, str]] = {
    # frame
    "skip": ("Zum Inhalt", "Skip to content"),
    "nav.label": ("Hauptnavigation", "Main navigation"),
    "nav.overview": ("Überblick", "Overview"),
    "nav.search": ("Suche", "Search"),
    "nav.reconciliation": ("Abgleich", "Reconciliation"),
    "frame.language": ("Sprache", "Language"),
    "frame.theme": ("Darstellung", "Appearance"),
    "theme.auto": ("Automatisch", "Automatic"),
    "theme.light": ("Hell", "Light"),
    "theme.dark": ("Dunkel", "Dark"),
    "frame.local": (
        "Diese Konsole läuft nur auf diesem Rechner. Zeiten: Ortszeit; UTC steht im Hinweis zur Zeit.",
        "This console runs on this machine only. Times are local; hover over one for UTC.",
    ),
    "format.moment": ("%d.%m.%Y, %H:%M", "%d %b %Y, %H:%M"),
    "format.day": ("%d.%m.", "%d %b"),
    "weekdays": ("Mo Di Mi Do Fr Sa So", "Mon Tue Wed Thu Fri Sat Sun"),
    "age.days": ("{count} Tage", "{count} days"),
    "age.days.one": ("{count} Tag", "{count} day"),
    "age.hours": ("{count} Stunden", "{count} hours"),
    "age.hours.one": ("{count} Stunde", "{count} hour"),
    "age.minutes": ("{count} Minuten", "{count} minutes"),
    "age.minutes.one": ("{count} Minute", "{count} minute"),
    "age.now": ("weniger als eine Minute", "less than a minute"),
    "notice.good": ("Erledigt.", "Done."),
    "notice.bad": ("Nicht in Ordnung.", "Not all right."),
    # portals and states
    "portal.duba": ("DUBA", "DUBA"),
    "portal.docxworld": ("docxworld", "docxworld"),
    "portal.digitale-gemeinde": ("Digitale-Gemeinde", "Digitale-Gemeinde"),
    "portal.altinn": ("Altinn", "Altinn"),
    "portal.": ("keinem Portal zuzuordnen", "of no portal"),
    "state.DISCOVERED": ("Entdeckt", "Discovered"),
    "state.FETCHING": ("Wird abgeholt", "Being fetched"),
    "state.STORED": ("Gespeichert", "Stored"),
    "state.ACKNOWLEDGED": ("Quittiert", "Acknowledged"),
    "state.QUARANTINED": ("In Quarantäne", "In quarantine"),
    "state.UNAVAILABLE": ("Nicht verfügbar", "Unavailable"),
    "state.ARRIVING": ("Kommt gerade an", "Arriving"),
    "state.UNDER_WAY": ("Unterwegs (alle)", "Under way (any)"),
    "state.RECEIVED": ("Angenommen", "Received"),
    "state.SENDING": ("Wird gesendet", "Being sent"),
    "state.SENT": ("Gesendet", "Sent"),
    "state.DELIVERED": ("Zugestellt", "Delivered"),
    "state.FAILED": ("Fehlgeschlagen", "Failed"),
    "state.DISCOVERED.says": (
        "Das Portal führt das Dokument auf; es wird in Kürze abgeholt.",
        "The portal lists the document; it will be fetched shortly.",
    ),
    "state.FETCHING.says": ("Das Dokument wird gerade abgeholt.", "The document is being fetched right now."),
    "state.STORED.says": (
        "Das Dokument liegt sicher im Eingang. Das Portal weiß davon noch nicht.",
        "The document is safe in the inbox. The portal has not been told of it yet.",
    ),
    "state.ACKNOWLEDGED.says": (
        "Das Dokument liegt sicher im Eingang, und das Portal weiß, dass wir es haben.",
        "The document is safe in the inbox, and the portal knows that we have it.",
    ),
    "state.QUARANTINED.says": (
        "So kann es nicht übernommen werden. Was kam, ist unverändert aufbewahrt; das Portal weiß von nichts. "
        "Jemand muss entscheiden.",
        "It cannot be taken like this. What came is kept as it came, and the portal has not been told. "
        "Somebody has to decide.",
    ),
    "state.UNAVAILABLE.says": (
        "Das Portal gibt das Dokument nicht mehr heraus, oder ein anderer Empfänger hält es.",
        "The portal no longer hands the document out, or another recipient holds it.",
    ),
    "state.RECEIVED.says": ("Die Datei ist im Ausgang angekommen.", "The file has arrived in the outbox."),
    "state.SENDING.says": ("Die Datei wird gerade zum Portal gesendet.", "The file is being sent to the portal."),
    "state.SENT.says": (
        "Das Portal hat die Datei; ihr Endzustand steht noch aus.",
        "The portal has the file; its final state is still to come.",
    ),
    "state.DELIVERED.says": ("Das Portal hat die Zustellung bestätigt.", "The portal has confirmed the delivery."),
    "state.FAILED.says": ("Die Zustellung ist gescheitert.", "The delivery has failed."),
    "state.ERASING": ("Wird gelöscht", "Being erased"),
    "state.ERASED": ("Gelöscht", "Erased"),
    "state.ERASING.says": (
        "Die Aufbewahrungszeit ist um; der Inhalt wird gerade gelöscht.",
        "The time for which it is kept has passed; its content is being erased.",
    ),
    "state.ERASED.says": (
        "Die Aufbewahrungszeit ist um, der Inhalt ist gelöscht. Was geschehen ist, steht noch im Verlauf.",
        "The time for which it is kept has passed, and its content is erased. What happened is still told below.",
    ),
    "shelf.ERASED": ("gelöscht", "erased"),
    "shelf.ARRIVING": ("kommen gerade an", "arriving"),
    "shelf.STORED": ("noch nicht quittiert", "not acknowledged yet"),
    "shelf.ACKNOWLEDGED": ("quittiert (24 Stunden)", "acknowledged (24 hours)"),
    "shelf.QUARANTINED": ("in Quarantäne", "in quarantine"),
    "shelf.UNAVAILABLE": ("nicht verfügbar", "unavailable"),
    "shelf.UNDER_WAY": ("unterwegs", "under way"),
    "shelf.DELIVERED": ("zugestellt (24 Stunden)", "delivered (24 hours)"),
    "shelf.FAILED": ("fehlgeschlagen", "failed"),
    # overview
    "overview.title": ("Überblick", "Overview"),
    "overview.example": ("Aktenzeichen, Datei, Auftrag oder Nummer", "Case number, file, job or id"),
    "overview.calm": ("Alles läuft. Niemand muss etwas tun.", "All is running. Nobody has to do anything."),
    "overview.waits": ("Das wartet auf jemanden:", "This waits for somebody:"),
    "overview.quarantined": ("Dokumente in Quarantäne", "Documents in quarantine"),
    "overview.dead": ("Aufgegebene Anfragen", "Requests given up"),
    "overview.failed": ("Zustellungen gescheitert (24 Stunden)", "Deliveries failed (24 hours)"),
    "overview.failing": ("Anbindungen gestört", "Connections not working"),
    "overview.under_way": ("Zustellungen unterwegs", "Deliveries under way"),
    "overview.look": ("Ansehen", "Look"),
    "overview.decide": ("Entscheiden", "Decide"),
    "overview.connections": ("Anbindungen", "Connections"),
    "overview.none": (
        "Es gibt noch keine Anbindung. Eine neue legt `connections add` auf der Kommandozeile an.",
        "There is no connection yet. `connections add` on the command line makes one.",
    ),
    "condition.works": ("In Ordnung", "Working"),
    "condition.paused": ("Angehalten", "Paused"),
    "condition.new": ("Noch nicht abgefragt", "Not polled yet"),
    "condition.silent": ("Wird nicht mehr abgefragt", "No longer polled"),
    "condition.fails": ("Gestört", "Not working"),
    "card.polled": ("Zuletzt abgefragt", "Last polled"),
    "card.never": ("noch nie", "never yet"),
    "card.since": ("Gestört seit", "Not working since"),
    "card.left_alone": ("Wird in Ruhe gelassen bis", "Left alone until"),
    "card.oldest": ("Ältestes, das nicht quittiert ist", "Oldest not acknowledged"),
    "card.oldest.none": ("keines", "none"),
    "card.kept": (
        "{age} alt; das Portal hält Dokumente etwa {days} Tage vor",
        "{age} old; the portal keeps documents for about {days} days",
    ),
    "card.alarm": ("{age} alt; Alarm ab {days} Tagen", "{age} old; alarm from {days} days on"),
    "card.age": ("{age} alt", "{age} old"),
    "card.late": ("Zu alt: bitte kümmern", "Too old: please see to it"),
    "card.delivery": ("Älteste Zustellung unterwegs seit", "Oldest delivery under way since"),
    "card.counts": ("Bestand", "What is there"),
    "card.nothing": ("nichts", "nothing"),
    "card.documents": ("Dokumente", "Documents"),
    "traffic.title": ("Die letzten Tage", "The last days"),
    "traffic.loading": ("Die Zahlen der letzten Tage ansehen", "See the figures of the last days"),
    "traffic.label": (
        "Balkendiagramm: empfangene und gesendete Dokumente je Tag; dieselben Zahlen stehen in der Tabelle darunter.",
        "Bar chart: documents received and sent on each day; the table below has the same figures.",
    ),
    "traffic.received": ("Empfangen", "Received"),
    "traffic.sent": ("Gesendet", "Sent"),
    "traffic.day": ("Tag", "Day"),
    "traffic.table": ("Als Tabelle", "As a table"),
    "traffic.more": ("+ heißt: mindestens so viele", "+ means: at least as many"),
    # search
    "search.title": ("Dokumente suchen", "Look for documents"),
    "search.text": ("Gesucht wird", "Look for"),
    "search.text.hint": (
        "Aktenzeichen, Dateiname, Auftrag oder Nummer beim Portal. Ganze Wörter; ein * am Ende steht für jeden Rest.",
        "Case number, file name, job or the portal’s id. Whole words; a * at the end stands for any rest.",
    ),
    "search.within": ("in", "in"),
    "search.within.anything": ("allem", "anything"),
    "search.within.case": ("Aktenzeichen", "case number"),
    "search.within.file": ("Dateiname", "file name"),
    "search.within.job": ("Auftrag", "job"),
    "search.within.portal_id": ("Nummer beim Portal", "id at the portal"),
    "search.connection": ("Anbindung", "Connection"),
    "search.all": ("alle", "all"),
    "search.direction": ("Richtung", "Direction"),
    "search.state": ("Zustand", "State"),
    "search.first": ("Vom", "From"),
    "search.last": ("Bis", "To"),
    "search.go": ("Suchen", "Search"),
    "search.clear": ("Alles zurücksetzen", "Clear all"),
    "search.days": ("Ein Tag:", "One day:"),
    "search.today": ("Heute", "Today"),
    "search.yesterday": ("Gestern", "Yesterday"),
    "search.found": ("Gefunden, das Neueste zuerst", "Found, newest first"),
    "search.nothing": ("Nichts gefunden.", "Nothing found."),
    "search.nothing.hint": (
        "Ganze Wörter werden verglichen: „Bericht*“ findet auch „Bericht 3.pdf“. Andere Tage können auch helfen.",
        "Whole words are compared: “Report*” finds “Report 3.pdf” as well. Other days may help, too.",
    ),
    "search.nothing.here": (
        "Auf dieser Seite passt nichts; es gibt noch ältere.",
        "Nothing fits on this page; there are older ones.",
    ),
    "search.more": ("Ältere anzeigen", "Show older ones"),
    "search.newest": ("Zurück zu den neuesten", "Back to the newest"),
    "column.seen": ("Zuerst gesehen", "First seen"),
    "column.document": ("Dokument", "Document"),
    "column.state": ("Zustand", "State"),
    "direction.in": ("Eingang", "Incoming"),
    "direction.out": ("Ausgang", "Outgoing"),
    # document
    "document.title": ("Dokument", "Document"),
    "document.delivery": ("Zustellung", "Delivery"),
    "document.facts": ("Auf einen Blick", "At a glance"),
    "document.from": ("Von", "From"),
    "document.to": ("An", "To"),
    "document.id": ("Nummer beim Portal", "Id at the portal"),
    "document.key": ("Schlüssel im Ausgang", "Key in the outbox"),
    "document.version": ("Version", "Version"),
    "document.reason": ("Grund", "Reason"),
    "document.failure": ("Fehler", "Error"),
    "document.retryable": ("Ein neuer Versuch kann gelingen.", "Another try may succeed."),
    "document.final": (
        "Ein neuer Versuch hilft nicht: eine berichtigte Fassung ist nötig.",
        "Another try does not help: a corrected version is needed.",
    ),
    "document.waits": ("Wartet auf", "Waits for"),
    "document.newer": (
        "Diese Seite zeigt die neueste Version dieses Schlüssels, nicht die aus der Liste.",
        "This page shows the newest version of this key, not the one from the list.",
    ),
    "document.decide": ("Was ist zu tun?", "What is to be done?"),
    "document.life": ("Verlauf", "What happened"),
    "document.step.portal": ("meldet das Portal", "says the portal"),
    "document.step.document": ("von document.json", "of document.json"),
    "document.step.by": ("durch", "by"),
    "step.SCHEDULED": ("Eingeplant", "Scheduled"),
    "step.UPLOADED": ("Hochgeladen", "Uploaded"),
    "step.WAITING_APPROVAL": ("Wartet auf Freigabe", "Waits for approval"),
    "step.APPROVED": ("Freigegeben", "Approved"),
    "step.REJECTED": ("Abgelehnt", "Refused"),
    "step.TRANSFERRED": ("Übergeben", "Passed on"),
    "step.TRANSFER_FAILED": ("Übergabe gescheitert", "Could not be passed on"),
    "step.COLLECTED": ("Abgeholt", "Collected"),
    "step.DUPLICATED": ("Schon bekannt", "Known already"),
    "document.files": ("Dateien", "Files"),
    "document.files.kept": (
        "Diese Dateien liegen unverändert in der Quarantäne. Vorsicht: sie konnten nicht geprüft werden.",
        "These files are kept in quarantine as they came. Take care: they could not be checked.",
    ),
    "document.files.none": ("Noch keine Dateien.", "No files yet."),
    "document.download": ("Herunterladen", "Download"),
    "document.record": (
        "Was das Portal dazu sagt (kann Personen nennen)",
        "What the portal says of it (may name persons)",
    ),
    "receipt.title": ("Quittung", "Receipt"),
    "receipt.IN_PROGRESS": ("Unterwegs", "Under way"),
    "receipt.DELIVERED": ("Zugestellt", "Delivered"),
    "receipt.FAILED": ("Fehlgeschlagen", "Failed"),
    "receipt.none": ("Es gibt noch keine Quittung.", "There is no receipt yet."),
    "receipt.updated": ("Stand", "As of"),
    "receipt.result": ("Antwort des Portals", "The portal’s answer"),
    "receipt.download": ("Quittung herunterladen", "Download the receipt"),
    "progress.title": ("Fortschritt", "Progress"),
    "progress.bytes": (
        "{sent} von {total} sind beim Portal ({percent} %)",
        "{sent} of {total} are at the portal ({percent} %)",
    ),
    "progress.unknown": ("Unterwegs. Diese Anzeige erneuert sich selbst.", "Under way. This refreshes by itself."),
    # reconciliation
    "reconciliation.title": ("Abgleich", "Reconciliation"),
    "reconciliation.lead": (
        "Stimmen Portal, Verzeichnis und Ablage überein? Verglichen wird jede Nacht; das Ergebnis steht hier.",
        "Do portal, ledger and storage agree? They are compared every night; here is what came of it.",
    ),
    "reconciliation.differences": ("Unterschiede", "Differences"),
    "reconciliation.began": ("Begonnen", "Began"),
    "reconciliation.none": ("noch nicht verglichen", "not compared yet"),
    "differences.none": ("Alles stimmt überein", "All agrees"),
    "differences.one": ("1 Unterschied", "1 difference"),
    "differences.some": ("{count} Unterschiede", "{count} differences"),
    "differences.goes_on": ("Der Vergleich läuft noch.", "The comparison still goes on."),
    "report.title": ("Bericht", "Report"),
    "report.extent": ("Umfang", "Extent"),
    "report.whole": ("alles", "everything"),
    "report.lately": ("die letzten drei Tage", "the last three days"),
    "report.listed": ("Das Portal führt", "The portal lists"),
    "report.compared": ("Verglichen", "Compared"),
    "report.what": ("Was anders ist", "What differs"),
    "report.more": ("Und {count} weitere.", "And {count} more."),
    "report.repair": ("Alles auf einmal richtet die Kommandozeile mit", "The command line repairs all of it at once:"),
    "report.others": ("Frühere Berichte", "Earlier reports"),
    "difference.MISSING_HERE": ("Fehlte hier, wird geholt", "Was missing here, is being fetched"),
    "difference.UNKNOWN_THERE": ("Das Portal führt es nicht mehr", "The portal no longer lists it"),
    "difference.STILL_THERE": ("Quittiert, und das Portal führt es weiter", "Acknowledged, and still listed"),
    "difference.FILES_DIFFER": ("Nicht mehr so, wie es gespeichert wurde", "Not as it was stored"),
    "difference.NO_ROW": ("Liegt im Eingang und ist unbekannt", "Lies in the inbox and is unknown"),
    "difference.NOT_SENT": ("Wurde nie gesendet", "Was never sent"),
    "difference.STUCK": ("Steckt fest", "Is stuck"),
    # actions
    "action.retry": ("Noch einmal versuchen", "Try again"),
    "action.retry.explain": (
        "Amtsbote versucht es noch einmal: ein eingehendes Dokument wird neu abgeholt (oder neu "
        "quittiert), eine Zustellung neu gesendet.",
        "Amtsbote tries once more: what arrives is fetched (or told of) again, a delivery is sent again.",
    ),
    "action.retry.done": ("Der neue Versuch ist beauftragt.", "Another try has been asked for."),
    "action.release": ("Freigeben", "Release"),
    "action.release.explain": (
        "Die unlesbare Datei kommt so, wie sie ist, in den Eingang, und die Fachanwendung erfährt davon.",
        "The unreadable file goes into the inbox as it is, and the backend is told of it.",
    ),
    "action.release.done": ("Das Dokument ist freigegeben.", "The document has been released."),
    "action.keep": ("In Quarantäne lassen", "Keep in quarantine"),
    "action.keep.explain": (
        "Es bleibt, wie es ist: die Datei ist aufbewahrt, das Portal weiß von nichts, und dieses "
        "Dokument bleibt im Überblick stehen.",
        "All stays as it is: the file is kept, the portal is not told, and the document stays on the overview.",
    ),
    "action.keep.done": ("Das Dokument bleibt in Quarantäne.", "The document stays in quarantine."),
    "action.acknowledge": ("Von Hand quittieren", "Acknowledge by hand"),
    "action.acknowledge.explain": (
        "Das Portal erfährt jetzt, dass wir das Dokument haben. Es kann es danach löschen.",
        "The portal is told now that we have the document. It may delete it afterwards.",
    ),
    "action.acknowledge.done": ("Die Quittung ist beauftragt.", "The portal is being told."),
    "action.pause": ("Anhalten", "Pause"),
    "action.pause.explain": (
        "Die Anbindung ruht, bis jemand sie fortsetzt. Nichts geht verloren: alles wartet.",
        "The connection rests until somebody resumes it. Nothing is lost: everything waits.",
    ),
    "action.pause.done": ("Die Anbindung ist angehalten.", "The connection is paused."),
    "action.resume": ("Fortsetzen", "Resume"),
    "action.resume.explain": (
        "Die Anbindung wird wieder eingeschaltet und arbeitet auf, was gewartet hat.",
        "The connection is switched on again and works off what has waited.",
    ),
    "action.resume.done": ("Die Anbindung arbeitet wieder.", "The connection works again."),
    "action.test": ("Verbindung prüfen", "Test"),
    "action.test.explain": (
        "Dieser Rechner meldet sich beim Portal an und liest die Liste des letzten Tages. Dort ändert sich nichts.",
        "This machine logs in at the portal and reads the list of the last day. Nothing changes at the portal.",
    ),
    "action.reconcile": ("Abgleichen", "Reconcile"),
    "action.reconcile.explain": (
        "Alles, was die Portale führen, wird mit dem Bestand verglichen; was fehlt, wird geholt. Sonst "
        "geschieht das nachts.",
        "Everything that the portals list is compared with what we have; what is missing is fetched. "
        "Else this happens at night.",
    ),
    "action.reconcile.done": ("Der Abgleich ist beauftragt.", "The comparison has been asked for."),
    "action.repair": ("Richten", "Repair"),
    "action.repair.explain": (
        "Geprüft wird, wie es jetzt darum steht; getan wird nur, was dann noch nötig ist.",
        "It is looked at how things are now; only what is still needed then is done.",
    ),
    "action.repair.done": (
        "Das ist veranlasst. Ein neuer Abgleich zeigt, ob es stimmt.",
        "That is under way. A new comparison shows whether all agrees.",
    ),
    "action.redrive": ("Erneut einreihen", "Queue again"),
    "action.redrive.explain": (
        "Diese aufgegebenen Anfragen gehen zurück in ihre Warteschlangen. Doppelte Arbeit schadet "
        "nicht; die Ursache sollte behoben sein.",
        "These requests that were given up go back to their queues. Repeated work is harmless; the "
        "cause should be mended.",
    ),
    "action.redrive.result": (
        "{sent} zurück in ihre Warteschlangen gestellt, {left} liegen geblieben.",
        "{sent} sent back to their queues, {left} left where they are.",
    ),
    "confirm.title": ("Ist das gemeint?", "Is this meant?"),
    "confirm.says": ("Genau das geschieht", "Exactly this will happen"),
    "confirm.will": ("Amtsbote wird {says}.", "Amtsbote will {says}."),
    "confirm.changed": (
        "Inzwischen hat sich etwas geändert. Bitte lesen Sie noch einmal, was geschehen würde.",
        "Something has changed meanwhile. Please read again what would happen.",
    ),
    "confirm.yes": ("Ja: {action}", "Yes: {action}"),
    "confirm.no": ("Abbrechen", "Cancel"),
    "confirm.letters": ("Aufgegebene Anfragen", "Requests given up"),
    "confirm.no_letters": ("Es liegt nichts da.", "There is nothing there."),
    "letter.verb": ("Schritt", "Step"),
    "letter.about": ("Worum es geht", "What it is about"),
    # refusals
    "refused.title": ("Das geht nicht", "This cannot be done"),
    "refused.FORM_OUTDATED": (
        "Dieses Formular stammt nicht von dieser Konsole oder aus einem früheren Start. Laden Sie die Seite neu.",
        "This form is not from this console, or from an earlier start. Load the page again.",
    ),
    "refused.AWS_REFUSED": (
        "AWS hat das abgelehnt. Prüfen Sie die Anmeldung an AWS und die Berechtigungen.",
        "AWS has refused this. Check the login at AWS and the permissions.",
    ),
    "refused.code": ("Kennung", "Code"),
    "refused.back": ("Zum Überblick", "To the overview"),
} | {f"reason.{code}": said for code, said in REASONS.items()}
