for (const video of document.querySelectorAll('video'))
  video.addEventListener('loadedmetadata', () => { video.dataset.seconds = video.duration; });
for (const take of document.querySelectorAll('.take')) {
  const video = take.querySelector('video'), head = take.querySelector('.playhead');
  const show = () => {
    const x = 960 * video.currentTime / (video.duration || 1);
    head.setAttribute('x1', x);
    head.setAttribute('x2', x);
    if (!video.paused) requestAnimationFrame(show);
  };
  video.addEventListener('play', show);
  video.addEventListener('timeupdate', show);
}
