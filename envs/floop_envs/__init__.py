"""PyBullet Gymnasium environments (Robot × Task), their scenarios and assets."""
