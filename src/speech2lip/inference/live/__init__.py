"""SOUND AS IT COMES -> a local page that shows the avatar speaking it."""
