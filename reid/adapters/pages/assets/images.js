"use strict";
// Images are decoded when they come near the screen. A browser's own lazy loading does not
// apply to data: URLs, so an observer gives each image its source.
(() => {
  const stored = JSON.parse(document.getElementById("images").textContent);
  const show = (image) => {
    image.src = "data:image/jpeg;base64," + stored[Number(image.dataset.image)];
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        observer.unobserve(entry.target);
        show(entry.target);
      }
    }
  }, { rootMargin: "600px 200px" });
  for (const image of document.querySelectorAll("img[data-image]")) {
    observer.observe(image);
  }
  addEventListener("beforeprint", () => {
    document.querySelectorAll("img[data-image]:not([src])").forEach(show);
  });
})();
