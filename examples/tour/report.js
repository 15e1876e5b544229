// Clips in one row start together, and only while they can be seen; with reduced motion the user starts them by hand.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const clips = [...target.querySelectorAll("video")];
    if (!isIntersecting) clips.forEach((clip) => clip.pause());
    else if (!still)
      clips.forEach((clip) => {
        clip.currentTime = 0;
        clip.play().catch(() => {});
      });
  }
});

// Controls lie over small pictures: they are shown while the pointer or the keyboard focus is on a clip.
if (!still) {
  for (const clip of document.querySelectorAll("video")) {
    clip.controls = false;
    clip.tabIndex = 0;
    for (const event of ["pointerenter", "focus"])
      clip.addEventListener(event, () => {
        clip.controls = true;
      });
    for (const event of ["pointerleave", "blur"])
      clip.addEventListener(event, () => {
        clip.controls = false;
      });
  }
}
document.querySelectorAll(".clips").forEach((row) => watch.observe(row));
