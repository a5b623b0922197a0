const element = (name, text) => Object.assign(document.createElement(name), {textContent: text});
const slug = document.currentScript.dataset.slug;
fetch(`/api/${slug}.json`).then(answer => answer.json()).then(page => {
  document.title = page.title + " | Lantern Library";
  const article = element("article", "");
  article.append(element("h1", page.title), element("time", page.published));
  for (const paragraph of page.paragraphs) article.append(element("p", paragraph));
  const main = element("main", "");
  main.append(article);
  const home = Object.assign(element("a", "Home"), {href: "/"});
  const nav = element("nav", "");
  nav.append(home);
  const footer = element("footer", "Made with care and JavaScript.");
  document.getElementById("app").replaceChildren(nav, main, footer);
});
