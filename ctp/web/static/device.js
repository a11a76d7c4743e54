// What a person would call the browser and device behind a user agent; the rest of it says nothing to them.
export function device(agent) {
  const browsers = [["Whale", "Whale"], ["SamsungBrowser", "Samsung Internet"], ["KAKAOTALK", "KakaoTalk"], ["Edg", "Edge"], ["OPR", "Opera"], ["Firefox", "Firefox"], ["Chrome", "Chrome"], ["Safari", "Safari"]];
  const systems = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS X", "Mac"], ["Linux", "Linux"]];
  const known = (names) => names.find(([sign]) => agent.includes(sign))?.[1];
  return [known(browsers), known(systems)].filter(Boolean).join(" · ") || agent || "–";
}
