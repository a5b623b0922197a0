"""The scripts that run in a page: they keep dialogs away, tell how far it is, and read what its reader sees."""

import json

# Before any script of the page. A dialog stops a page until somebody answers, and nobody is there.
NO_DIALOGS = """
window.alert = window.print = () => undefined;
window.confirm = () => false;
window.prompt = () => null;
"""

# Shared by the two below. What belongs to a document: its open shadow roots, and the documents of its frames that are
# shown and of its own origin.
_PARTS = """
const rootsOf = root => [...root.querySelectorAll('*')].map(one => one.shadowRoot).filter(Boolean);
const documentOf = frame => frame.getClientRects().length ? frame.contentDocument : null;
const framesOf = root => [...root.querySelectorAll('iframe, frame')].map(documentOf).filter(one => one && one.body);
const linesOf = root => [
    ...(root.body ? [root.body] : [...root.children]).flatMap(one => (one.innerText || '').split('\\n')),
    ...rootsOf(root).flatMap(linesOf), ...framesOf(root).flatMap(linesOf)];
const lengthOf = lines => lines.reduce((sum, line) => sum + line.length, 0);
"""

# Text that is not what a page is about; also for `tasks/render/javascript_pages.py`, which reads the HTML as it came.
NOTICE = r"cookie|consent|gdpr|rgpd|dsgvo|javascript|legitimate interest|personal data|privacy policy|\bloading\b"
AROUND = ("nav", "header", "footer", "aside")

# Its state, the characters of text outside navigation and notices, and its protocol.
PROGRESS = (
    _PARTS
    + f"const NOTICE = new RegExp({json.dumps(NOTICE)}, 'i'), AROUND = {json.dumps(', '.join(AROUND))};"
    + """
const around = [...document.querySelectorAll(AROUND)].filter(one => !one.parentElement.closest(AROUND));
const isText = line => !NOTICE.test(line);
const all = lengthOf(linesOf(document).filter(isText));
const beside = around.reduce((sum, one) => sum + lengthOf(one.innerText.split('\\n').filter(isText)), 0);
return [document.readyState, Math.max(0, all - beside), location.protocol];
"""
)

# The page as HTML, and that of its frames, for each of which a mark stands in the page. A shadow root takes the place
# of what it hides, and what is put into its slots stands there. A frame counts where it has more text than what is
# around it; links in it are made absolute, and so are those whose query is in another encoding than UTF-8.
SNAPSHOT = (
    _PARTS
    + """
const [limit, mark] = arguments;
const frames = [];
const inert = document.implementation.createHTMLDocument();
const HIDDEN = ['noscript', 'template', 'noframes'];

function copy(node, into, page) {
    if (node.nodeType === Node.TEXT_NODE) into.append(inert.createTextNode(node.data));
    if (node.nodeType !== Node.ELEMENT_NODE || HIDDEN.includes(node.localName)) return;
    if (node.localName === 'slot' && node.getRootNode().host) {
        for (const one of node.assignedNodes({flatten: true})) copy(one, into, page);
        return;
    }
    if (['iframe', 'frame'].includes(node.localName)) return copyFrame(node, into, page);
    const isFrameset = node.localName === 'frameset';
    const own = isFrameset ? inert.createElement(node === page.body ? 'body' : 'div') : inert.importNode(node, false);
    if (['a', 'area'].includes(node.localName) && node.hasAttribute('href')) setAddress(own, node, page);
    into.append(own);
    for (const one of (node.shadowRoot || node).childNodes) copy(one, own, page);
}

function setAddress(own, link, page) {
    const isLegacy = page.characterSet !== 'UTF-8' && /[^\\0-\\x7f]/.test(link.getAttribute('href'));
    if (page !== document || isLegacy) own.setAttribute('href', link.href);
}

function copyFrame(frame, into, page) {
    const inner = documentOf(frame);
    if (!inner || !inner.body || lengthOf(linesOf(inner)) <= lengthOf((page.body.innerText || '').split('\\n'))) return;
    const found = {url: inner.location.href, mark: `${mark}-${frames.length}-`};
    frames.push(found);
    const place = inert.createElement('div');
    place.append(found.mark);
    into.append(place);
    const metas = [...inner.querySelectorAll('meta')];
    found.metas = metas.map(one => one.outerHTML).join('');
    found.named = metas.map(one => [one.name, one.content.replace(/[^ -~]/g, ' ')]);
    const body = inert.createElement('div');
    for (const one of inner.body.childNodes) copy(one, body, inner);
    for (const script of body.querySelectorAll('script, style')) script.remove();
    found.html = body.innerHTML;
}

function whole() {
    const root = document.documentElement;
    if (!root) return '';
    const isWhole = !document.querySelector('iframe, frame') && !rootsOf(document).length;
    if (isWhole && document.characterSet === 'UTF-8') {
        for (const hidden of document.querySelectorAll('noscript')) hidden.remove();
        return root.outerHTML;
    }
    const place = inert.createElement('div');
    try {
        copy(root, place, document);
    } catch (error) {  // nested too deeply
        frames.length = 0;
        return root.outerHTML;
    }
    return place.innerHTML;
}

const html = whole();
const length = html.length + frames.reduce((sum, one) => sum + one.html.length, 0);
const isSmall = length <= limit;
return {url: location.href, media_type: document.contentType, length: length,
        html: isSmall ? html : '', frames: isSmall ? frames : []};
"""
)
