// Start the clips of a row together while it is visible. With reduced motion, leave the start to the user.
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

// Controls cover small clips: show them only while the pointer or the keyboard focus is on the clip.
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
