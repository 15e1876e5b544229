// How far a labeller is: votes and remaining pairs, and the clips that are still being generated.
export function voteProgress(desk, words) {
  const place = desk.querySelector(".place"),
    generating = desk.querySelector(".generating"),
    [meter, line] = generating.children;

  return ({ campaign, me, many, done, remaining, generating: missing = 0, clips = 0 }) => {
    const filled = (many ? words.place_many : words.place).replace("{done}", done);
    place.textContent = campaign && me ? filled.replace("{remaining}", remaining) : "";
    generating.hidden = !campaign || !missing;
    Object.assign(meter, { max: Math.max(1, clips), value: clips - missing, ariaLabel: words.generating_label });
    line.textContent = words.generating.replace("{missing}", missing).replace("{clips}", clips);
  };
}
